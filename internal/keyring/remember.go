package keyring

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"understudy/internal/dr"
	"understudy/internal/registry"
	"understudy/internal/vault"
	"understudy/internal/vault/blob"
)

// remembered is the file that holds what is remembered of the vault at a URL; empty when nothing is to be.
func (o Opener) remembered(vaultURL string) string {
	if _, folder := registry.Folder(vaultURL); o.Remember == "" || folder && o.Store == nil {
		return ""
	}
	sum := sha256.Sum256([]byte(vaultURL))
	return filepath.Join(o.Remember, hex.EncodeToString(sum[:16])+".json")
}

// openStore opens the store of a vault. That of one which is remembered is opened when it is needed: it may be away.
func (o Opener) openStore(vaultURL string) (blob.Store, error) {
	file := o.remembered(vaultURL)
	if file == "" {
		return o.store(vaultURL, false)
	}
	described, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return o.store(vaultURL, false)
	}
	if err != nil {
		return nil, fmt.Errorf("read what is remembered of the vault: %w", err)
	}
	return blob.NewLate(func() (blob.Store, error) {
		store, err := o.store(vaultURL, false)
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(context.Background(), checkTime)
		defer cancel()
		now, err := vault.Describe(ctx, store)
		if err == nil && !bytes.Equal(now, described) {
			err = dr.WithHint(fmt.Errorf("vault %s: another vault is there than before", vaultURL), dr.KindConflict, "is it the right place? remove "+file+" if so")
		}
		return store, err
	}, vault.Description(described)), nil
}

// remember keeps the description of a vault.
func (o Opener) remember(ctx context.Context, vaultURL string, store blob.Store) error {
	file := o.remembered(vaultURL)
	if file == "" {
		return nil
	}
	if _, err := os.Stat(file); err == nil {
		return nil
	}
	described, err := vault.Describe(ctx, store)
	if err == nil {
		err = os.MkdirAll(o.Remember, 0o700)
	}
	if err == nil {
		err = os.WriteFile(file+".new", described, 0o600)
	}
	if err == nil {
		err = os.Rename(file+".new", file)
	}
	if err != nil {
		return fmt.Errorf("remember the vault: %w", err)
	}
	return nil
}

// Forget forgets the vault at a URL: another one may be there from now on.
func (o Opener) Forget(vaultURL string) error {
	file := o.remembered(vaultURL)
	if file == "" {
		return nil
	}
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget vault: %w", err)
	}
	return nil
}
