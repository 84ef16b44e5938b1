package replicate

import (
	"context"
	"path/filepath"
	"time"

	"filippo.io/age"

	"understudy/internal/vault"
	"understudy/internal/vault/blob/file"
)

func testContext() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), time.Minute)
}

func openFileVault(dir string, key age.Identity) (*vault.Vault, error) {
	ctx, cancel := testContext()
	defer cancel()
	st, err := file.Open(filepath.Join(dir, "vault"), false)
	if err != nil {
		return nil, err
	}
	return vault.Open(ctx, st, vault.Options{Identities: []age.Identity{key}, Now: time.Now, Logger: quiet})
}
