package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"understudy/internal/api/client"
	"understudy/internal/controller"
	"understudy/internal/dr"
	"understudy/internal/keyring"
)

// dataDir is the controller's folder.
func (a *App) dataDir() (string, error) {
	if a.data != "" {
		return filepath.Abs(a.data)
	}
	homes, err := keyring.FindHomes()
	return homes.State, err
}

// client connects to the controller: where --api says, or where the controller wrote that it is.
func (a *App) client() (*client.Client, error) {
	dir, err := a.dataDir()
	if err != nil {
		return nil, err
	}
	start := "start it: understudy serve"
	if a.data != "" {
		start += " --data " + a.data
	}
	url := a.apiURL
	if url == "" {
		data, err := os.ReadFile(filepath.Join(dir, controller.URLFile))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, dr.WithHint(fmt.Errorf("no controller runs on %s", dir), dr.KindUnavailable, start)
		}
		if err != nil {
			return nil, fmt.Errorf("find the controller: %w", err)
		}
		url = strings.TrimSpace(string(data))
	}
	file := a.tokenFile
	if file == "" {
		file = filepath.Join(dir, controller.TokenFile)
	}
	token, err := os.ReadFile(file)
	if err != nil {
		return nil, dr.WithHint(fmt.Errorf("read the API token: %w", err), dr.KindUnavailable,
			start+", or give its token with --token-file or UNDERSTUDY_TOKEN_FILE")
	}
	return client.New(url, strings.TrimSpace(string(token))), nil
}
