package wire

import (
	"cmp"

	"understudy/internal/vault"
	"understudy/internal/vault/blob"
)

// defaultLock is how far ahead a vault locks unless something else is asked for, in seconds.
const defaultLock = 30 * 24 * 3600

// LockRule is the rule for locks that is asked for; nil for none.
func (v Vault) LockRule() *vault.LockRule {
	if v.Lock == "" {
		return nil
	}
	return &vault.LockRule{Mode: blob.LockMode(v.Lock), Seconds: cmp.Or(v.LockSeconds, defaultLock)}
}
