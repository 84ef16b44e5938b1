package cli

import (
	"crypto/tls"
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
	trust, err := a.trust(dir, url)
	if err != nil {
		return nil, err
	}
	return client.NewTLS(url, strings.TrimSpace(string(token)), trust), nil
}

// trust says which certificates of a controller are taken: those of --ca-file; of one that was found in its folder, the
// one that is there; else what the system trusts.
func (a *App) trust(dir, url string) (*tls.Config, error) {
	file, rule := a.caFile, client.Roots
	if file == "" {
		if a.apiURL != "" || !strings.HasPrefix(url, "https://") {
			return nil, nil
		}
		file, rule = filepath.Join(dir, controller.CertificateFile), client.Only
	}
	data, err := os.ReadFile(file)
	var trust *tls.Config
	if err == nil {
		trust, err = rule(data)
	}
	if err != nil {
		return nil, dr.WithHint(fmt.Errorf("read the controller's certificate %s: %w", file, err), dr.KindInvalid,
			"give the file tls.crt of the controller's data folder with --ca-file or UNDERSTUDY_CA_FILE")
	}
	return trust, nil
}
