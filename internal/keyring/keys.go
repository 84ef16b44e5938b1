// Package keyring keeps the keys of vaults in the user's folders and opens vaults with them.
package keyring

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"filippo.io/age"

	"understudy/internal/dr"
)

// Homes are the user's folders.
type Homes struct {
	Config string // keys
	State  string // what can be rebuilt
}

// FindHomes returns the user's folders by the XDG rules.
func FindHomes() (Homes, error) {
	config, state := os.Getenv("XDG_CONFIG_HOME"), os.Getenv("XDG_STATE_HOME")
	if config == "" || state == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return Homes{}, dr.WithHint(fmt.Errorf("find the home folder: %w", err), dr.KindInvalid, "set HOME, or XDG_CONFIG_HOME and XDG_STATE_HOME")
		}
		if config == "" {
			config = filepath.Join(home, ".config")
		}
		if state == "" {
			state = filepath.Join(home, ".local", "state")
		}
	}
	return Homes{Config: filepath.Join(config, "understudy"), State: filepath.Join(state, "understudy")}, nil
}

// KeyFile is where the key of a vault is kept by default.
func (h Homes) KeyFile(vaultID string) string {
	return filepath.Join(h.Config, "keys", vaultID+".key")
}

// ReadKey reads age identities from a key file. On systems with permissions a file that others can read is refused.
func ReadKey(file string) ([]age.Identity, error) {
	f, err := os.Open(file)
	if err != nil {
		kind := dr.KindUnavailable
		if errors.Is(err, fs.ErrNotExist) {
			kind = dr.KindNotFound
		}
		return nil, dr.WithHint(fmt.Errorf("read key: %w", err), kind, "give the key file with --key or UNDERSTUDY_KEY_FILE")
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	if runtime.GOOS != "windows" && st.Mode().Perm()&0o077 != 0 {
		return nil, dr.WithHint(fmt.Errorf("read key %s: others can read it", file), dr.KindInvalid, "chmod 600 "+file)
	}
	ids, err := age.ParseIdentities(f)
	if err != nil {
		return nil, dr.WithHint(fmt.Errorf("read key %s: %w", file, err), dr.KindInvalid, "a key file holds a line AGE-SECRET-KEY-1...")
	}
	return ids, nil
}

// recipients returns the public sides of identities.
func recipients(ids []age.Identity) ([]string, error) {
	var list []string
	for _, id := range ids {
		switch id := id.(type) {
		case *age.X25519Identity:
			list = append(list, id.Recipient().String())
		case *age.HybridIdentity:
			list = append(list, id.Recipient().String())
		}
	}
	if len(list) == 0 {
		return nil, dr.WithHint(errors.New("make vault: the key file has no key of ours"), dr.KindInvalid, "leave --key out, and a key is made")
	}
	return list, nil
}

// newKey makes a key and writes it to a new file in the keys folder. The caller moves it to its vault's name.
func (h Homes) newKey() (file string, id *age.X25519Identity, err error) {
	id, err = age.GenerateX25519Identity()
	if err != nil {
		return "", nil, fmt.Errorf("make key: %w", err)
	}
	dir := filepath.Join(h.Config, "keys")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", nil, fmt.Errorf("make key: %w", err)
	}
	f, err := os.CreateTemp(dir, "new-*.key") // mode 0600
	if err != nil {
		return "", nil, fmt.Errorf("make key: %w", err)
	}
	_, err = fmt.Fprintf(f, "# key of an understudy vault: keep a copy elsewhere\n# public key: %s\n%s\n", id.Recipient(), id)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return "", nil, fmt.Errorf("make key: %w", err)
	}
	return f.Name(), id, nil
}
