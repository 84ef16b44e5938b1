package s3

import (
	"context"
	"crypto/md5"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"understudy/internal/dr"
	"understudy/internal/vault/blob"
)

const lockHint = "the bucket must have been made with object lock: aws s3api create-bucket --object-lock-enabled-for-bucket; see docs/vault-object-storage.md"

func mode(m blob.LockMode) minio.RetentionMode {
	return minio.RetentionMode(strings.ToUpper(string(m)))
}

// partOptions adds what S3 wants of the parts of an object that will be locked: their MD5, which is no secret's.
func partOptions(p []byte, o minio.PutObjectOptions) (po minio.PutObjectPartOptions) {
	if o.Mode != "" {
		sum := md5.Sum(p)
		po.Md5Base64 = base64.StdEncoding.EncodeToString(sum[:])
	}
	return po
}

// CreateLocked implements blob.Locker.
func (s *Store) CreateLocked(ctx context.Context, name string, r io.Reader, l blob.Lock) (blob.Info, error) {
	o := minio.PutObjectOptions{ContentType: contentType, Mode: mode(l.Mode), RetainUntilDate: l.Until.UTC(), SendContentMd5: true}
	info, err := s.create(ctx, name, r, o)
	var answer minio.ErrorResponse
	switch {
	case !errors.As(err, &answer):
	case answer.Code == "InvalidRequest" || answer.Code == "InvalidBucketObjectLockConfiguration" || answer.Code == "ObjectLockConfigurationNotFoundError":
		err = dr.WithHint(err, dr.KindInvalid, lockHint)
	case answer.StatusCode == http.StatusForbidden:
		err = dr.WithHint(fmt.Errorf("create %s with a lock: the service permits it not", name), dr.KindInvalid, "permit s3:PutObjectRetention, or have the bucket lock what is created for as long as the vault locks at most")
	}
	return info, err
}

// locksItself reports whether a locked creation was refused to who may not lock, in a bucket that locks whatever is created
// for long enough by itself. Then it takes the lock out of the options.
func (s *Store) locksItself(ctx context.Context, err error, o *minio.PutObjectOptions) bool {
	if status(err) != http.StatusForbidden || o.Mode == "" {
		return false
	}
	_, m, validity, unit, err := s.core.GetObjectLockConfig(ctx, s.bucket)
	if err != nil || m == nil || validity == nil || unit == nil || o.Mode == minio.Compliance && *m != minio.Compliance {
		return false
	}
	days := int(*validity)
	if *unit == minio.Years {
		days *= 365
	}
	if time.Now().AddDate(0, 0, days).Before(o.RetainUntilDate) {
		return false
	}
	o.Mode, o.RetainUntilDate = "", time.Time{}
	return true
}

// Lock implements blob.Locker.
func (s *Store) Lock(ctx context.Context, name string, l blob.Lock) error {
	if err := blob.CheckName(name); err != nil {
		return err
	}
	m, until := mode(l.Mode), l.Until.UTC()
	err := s.core.PutObjectRetention(ctx, s.bucket, s.prefix+name, minio.PutObjectRetentionOptions{Mode: &m, RetainUntilDate: &until})
	if err != nil {
		return s.explain("lock", name, err)
	}
	return nil
}

// LockedUntil implements blob.Locker.
func (s *Store) LockedUntil(ctx context.Context, name string) (time.Time, error) {
	if err := blob.CheckName(name); err != nil {
		return time.Time{}, err
	}
	info, err := s.core.StatObject(ctx, s.bucket, s.prefix+name, minio.StatObjectOptions{})
	if err != nil {
		return time.Time{}, s.explain("ask for the lock of", name, err)
	}
	text := info.Metadata.Get("X-Amz-Object-Lock-Retain-Until-Date")
	if text == "" {
		return time.Time{}, nil
	}
	until, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("ask for the lock of %s: %w", name, err)
	}
	return until, nil
}

// Purge implements blob.Locker: in a bucket that keeps versions, Delete only hides an object.
func (s *Store) Purge(ctx context.Context, name string) error {
	if err := blob.CheckName(name); err != nil {
		return err
	}
	info, err := s.core.StatObject(ctx, s.bucket, s.prefix+name, minio.StatObjectOptions{})
	if status(err) == http.StatusNotFound {
		return nil
	}
	if err != nil {
		return s.explain("purge", name, err)
	}
	err = s.core.RemoveObject(ctx, s.bucket, s.prefix+name, minio.RemoveObjectOptions{VersionID: info.VersionID})
	if err == nil || status(err) == http.StatusNotFound {
		return nil
	}
	// A lock and a lack of permission get the same answer, but for what people read. Where the bucket locks by itself, not
	// every service tells until when.
	until, lerr := s.LockedUntil(ctx, name)
	if status(err) < 500 && (lerr == nil && until.After(time.Now()) || strings.Contains(err.Error(), "object lock")) {
		return fmt.Errorf("purge %s: %w", name, blob.ErrLocked)
	}
	return s.explain("purge", name, err)
}
