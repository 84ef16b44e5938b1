package azblob

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	azb "github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"

	"understudy/internal/dr"
	"understudy/internal/vault/blob"
)

const lockHint = "the container must have been made with version-level immutability; see docs/vault-object-storage.md"

// setting is a mode in Azure's words: an unlocked policy may be taken off by who has the permission, a locked one by nobody.
func setting(m blob.LockMode) *azb.ImmutabilityPolicySetting {
	if m == blob.Compliance {
		return to.Ptr(azb.ImmutabilityPolicySettingLocked)
	}
	return to.Ptr(azb.ImmutabilityPolicySettingUnlocked)
}

// CreateLocked implements blob.Locker: the request that makes the object visible locks it.
func (s *Store) CreateLocked(ctx context.Context, name string, r io.Reader, l blob.Lock) (blob.Info, error) {
	if err := blob.CheckName(name); err != nil {
		return blob.Info{}, err
	}
	from := &blob.Source{Ctx: ctx, R: r}
	nonce := rand.Text() // two who create one name do not mix their blocks
	c, buf, blocks := s.blob(name), make([]byte, blockSize), []string(nil)
	for {
		n, err := io.ReadFull(from, buf)
		if from.Err != nil {
			return s.created(name, from, nil, nil)
		}
		if n > 0 {
			id := base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%s-%08d", nonce, len(blocks)))
			if _, err := c.StageBlock(ctx, id, streaming.NopCloser(bytes.NewReader(buf[:n])), nil); err != nil {
				return s.created(name, from, nil, err)
			}
			blocks = append(blocks, id)
		}
		if err != nil { // the end
			break
		}
	}
	resp, err := c.CommitBlockList(ctx, blocks, &blockblob.CommitBlockListOptions{AccessConditions: absent(),
		ImmutabilityPolicyMode: setting(l.Mode), ImmutabilityPolicyExpiryTime: to.Ptr(l.Until.UTC())})
	info, cerr := s.created(name, from, resp.LastModified, err)
	if code := status(err); code == http.StatusBadRequest || code == http.StatusNotImplemented {
		cerr = dr.WithHint(cerr, dr.KindInvalid, lockHint)
	}
	return info, cerr
}

// Lock implements blob.Locker.
func (s *Store) Lock(ctx context.Context, name string, l blob.Lock) error {
	if err := blob.CheckName(name); err != nil {
		return err
	}
	if _, err := s.blob(name).SetImmutabilityPolicy(ctx, l.Until.UTC(), &azb.SetImmutabilityPolicyOptions{Mode: setting(l.Mode)}); err != nil {
		return s.explain("lock", name, err)
	}
	return nil
}

// LockedUntil implements blob.Locker.
func (s *Store) LockedUntil(ctx context.Context, name string) (time.Time, error) {
	if err := blob.CheckName(name); err != nil {
		return time.Time{}, err
	}
	p, err := s.blob(name).GetProperties(ctx, nil)
	if err != nil {
		return time.Time{}, s.explain("ask for the lock of", name, err)
	}
	if p.ImmutabilityPolicyExpiresOn == nil {
		return time.Time{}, nil
	}
	return *p.ImmutabilityPolicyExpiresOn, nil
}

// Purge implements blob.Locker.
func (s *Store) Purge(ctx context.Context, name string) error {
	err := s.Delete(ctx, name)
	if err == nil {
		return nil
	}
	if until, lerr := s.LockedUntil(ctx, name); lerr == nil && until.After(time.Now()) {
		return fmt.Errorf("purge %s: %w", name, blob.ErrLocked)
	}
	return err
}
