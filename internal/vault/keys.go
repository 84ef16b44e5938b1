package vault

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"understudy/internal/dr"
	"understudy/internal/vault/segment"

	"filippo.io/age"
)

func parseRecipients(list []string) ([]age.Recipient, error) {
	r, err := age.ParseRecipients(strings.NewReader(strings.Join(list, "\n")))
	if err != nil {
		return nil, dr.WithHint(fmt.Errorf("recipients: %w", err), dr.KindInvalid, "recipients start with age1")
	}
	return r, nil
}

// newKey makes a file key and wraps it to the vault's recipients.
func (v *Vault) newKey() (key segment.Key, wrapped []byte, err error) {
	copy(key[:], randomBytes(len(key)))
	wrapped, err = v.wrap(key)
	return key, wrapped, err
}

func (v *Vault) wrap(key segment.Key) ([]byte, error) {
	var b bytes.Buffer
	w, err := age.Encrypt(&b, v.recipients...)
	if err == nil {
		if _, err = w.Write(key[:]); err == nil {
			err = w.Close()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("wrap key: %w", err)
	}
	return b.Bytes(), nil
}

func (v *Vault) unwrap(h *segment.Header) (key segment.Key, err error) {
	if !v.CanRead() {
		return key, dr.WithHint(errors.New("vault is open without a key"), dr.KindInvalid,
			"give the vault's age identity: --key FILE or UNDERSTUDY_KEY_FILE")
	}
	r, err := age.Decrypt(bytes.NewReader(h.Key), v.identities...)
	var none *age.NoIdentityMatchError
	if errors.As(err, &none) {
		return key, dr.WithHint(fmt.Errorf("unwrap key: %w", err), dr.KindInvalid, "this key does not open this vault: give the right one with --key FILE")
	}
	if err == nil {
		_, err = io.ReadFull(r, key[:])
	}
	if err != nil {
		return key, corrupt(fmt.Errorf("unwrap key: %w", err))
	}
	return key, nil
}
