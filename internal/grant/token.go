package grant

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"understudy/internal/dr"
)

// KeySize is the size of a signing key in bytes.
const KeySize = 32

// Key reads a signing key from a file, or makes one there.
func Key(file string) ([]byte, error) {
	key, err := os.ReadFile(file)
	if err == nil && len(key) == KeySize {
		return key, nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("read signing key: %w", err)
	}
	// Tokens do not outlive the process, so one that was cut short is simply made anew.
	key = make([]byte, KeySize)
	rand.Read(key) // never fails
	if err := os.WriteFile(file, key, 0o600); err != nil {
		return nil, fmt.Errorf("make signing key: %w", err)
	}
	return key, nil
}

// A token is base64url of: version 1, access 1, when it expires 8 (milliseconds since 1970, big-endian), the grant's ID, and
// an HMAC-SHA-256 of all of that. A grant that is renewed gets a new token; the old one ends when it said it would.
const (
	tokenVersion = 1
	tokenHead    = 10
)

var encoding = base64.RawURLEncoding

func sign(key []byte, data []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(data)
	return h.Sum(data)
}

func makeToken(key []byte, id string, access Access, expires time.Time) string {
	b := []byte{tokenVersion, 'r'}
	if access == Write {
		b[1] = 'w'
	}
	b = binary.BigEndian.AppendUint64(b, uint64(expires.UnixMilli()))
	return encoding.EncodeToString(sign(key, append(b, id...)))
}

// errToken says no more than that: who guesses learns nothing.
var errToken = errors.New("grant is not valid")

// readToken returns what a token of the key says.
func readToken(key []byte, token string) (id string, access Access, expires time.Time, err error) {
	b, err := encoding.DecodeString(token)
	end := len(b) - sha256.Size
	if err != nil || end <= tokenHead || b[0] != tokenVersion || !hmac.Equal(sign(key, b[:end:end]), b) {
		return "", "", time.Time{}, dr.WithHint(errToken, dr.KindNotFound, "understudy grant list")
	}
	access = Read
	if b[1] == 'w' {
		access = Write
	}
	return string(b[tokenHead:end]), access, time.UnixMilli(int64(binary.BigEndian.Uint64(b[2:]))), nil
}
