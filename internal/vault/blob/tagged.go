package blob

import (
	"bytes"
	"crypto/rand"
	"fmt"

	"understudy/internal/dr"
)

// Stores whose versions are digests of the content give the same tag to the same content. Sealed content begins with a
// nonce, so that a tag is never given twice, and a writer whose answer was lost recognises what it wrote.

// sealMark begins a tagged object that was sealed.
const sealMark = "understudy-tagged-1\n"

const nonceSize = 16

// Seal prepares the content of a tagged object for such a store.
func Seal(name string, data []byte) ([]byte, error) {
	if len(data) > MaxTagged {
		return nil, dr.WithHint(fmt.Errorf("put %s: %d bytes are more than a tagged object's %d", name, len(data), MaxTagged), dr.KindInvalid, "")
	}
	out := make([]byte, len(sealMark)+nonceSize, len(sealMark)+nonceSize+len(data))
	copy(out, sealMark)
	_, _ = rand.Read(out[len(sealMark):]) // never fails
	return append(out, data...), nil
}

// SealedSize is the largest sealed object, in bytes.
const SealedSize = MaxTagged + len(sealMark) + nonceSize

// Unseal returns what was sealed.
func Unseal(name string, sealed []byte) ([]byte, error) {
	rest, ok := bytes.CutPrefix(sealed, []byte(sealMark))
	if !ok || len(rest) < nonceSize {
		return nil, dr.WithHint(fmt.Errorf("get %s: it is no tagged object", name), dr.KindInvalid, "see that nothing else writes to the vault's place")
	}
	return rest[nonceSize:], nil
}
