// Package password keeps passwords as argon2id hashes, with the parameters and the salt in the hash, so that hashes of
// other parameters go on working: $argon2id$v=19$m=47104,t=1,p=1$SALT$HASH (the PHC string format).
package password

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"

	"understudy/internal/dr"
)

// Bounds of a password, in bytes.
const (
	MinLength = 12
	MaxLength = 256
)

// The first parameters that OWASP recommends for argon2id, and the bounds of those that are accepted.
const (
	memory, passes, lanes = 46 << 10, 1, 1 // KiB
	saltLength, keyLength = 16, 32
	maxMemory, maxPasses  = 1 << 20, 64
)

// working bounds how much memory is used at once: logging in is open to everyone.
var working = make(chan struct{}, 2)

// Check says what is wrong with a password that a person chose.
func Check(password string) error {
	if len(password) < MinLength || len(password) > MaxLength {
		return dr.WithHint(fmt.Errorf("the password has not %d to %d bytes", MinLength, MaxLength), dr.KindInvalid, "several words make a good one")
	}
	return nil
}

// Hash returns the hash of a password.
func Hash(ctx context.Context, password string) (string, error) {
	salt := make([]byte, saltLength)
	rand.Read(salt) // never fails
	key, err := derive(ctx, password, salt, memory, passes, lanes, keyLength)
	if err != nil {
		return "", err
	}
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, memory, passes, lanes, b64.EncodeToString(salt), b64.EncodeToString(key)), nil
}

// nobody is compared with when there is no user, so that it takes as long as when there is one.
const nobody = "$argon2id$v=19$m=47104,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

// Matches reports whether a password has a hash. An empty hash is that of no password, which takes as long to find out.
// The error is about a hash that cannot be read, or about ctx.
func Matches(ctx context.Context, password, hash string) (bool, error) {
	known := hash != ""
	if !known {
		hash = nobody
	}
	fields := strings.Split(hash, "$")
	var version int
	var m, t uint32
	var p uint8
	bad := errors.New("read password: the stored hash is damaged")
	if len(fields) != 6 || fields[1] != "argon2id" {
		return false, bad
	}
	if n, err := fmt.Sscanf(fields[2]+" "+fields[3], "v=%d m=%d,t=%d,p=%d", &version, &m, &t, &p); n != 4 || err != nil || version != argon2.Version {
		return false, bad
	}
	salt, err1 := base64.RawStdEncoding.DecodeString(fields[4])
	key, err2 := base64.RawStdEncoding.DecodeString(fields[5])
	if err1 != nil || err2 != nil || len(key) < 16 || len(key) > 64 || m > maxMemory || t == 0 || t > maxPasses || p == 0 {
		return false, bad
	}
	got, err := derive(ctx, password, salt, m, t, p, uint32(len(key))) //nolint:gosec // at most 64
	return err == nil && subtle.ConstantTimeCompare(got, key) == 1 && known, err
}

func derive(ctx context.Context, password string, salt []byte, m, t uint32, p uint8, length uint32) ([]byte, error) {
	select {
	case working <- struct{}{}:
		defer func() { <-working }()
		return argon2.IDKey([]byte(password), salt, t, m, p, length), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
