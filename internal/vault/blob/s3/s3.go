// Package s3 keeps objects in a bucket that speaks S3. Creation and replacement are conditional requests (If-None-Match,
// If-Match), which the service must support: AWS, MinIO, Ceph and versitygw do.
package s3

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"understudy/internal/dr"
	"understudy/internal/vault/blob"
)

// partSize is how much of a large object one request sends, in bytes: the least that S3 takes. An object has at most 10000
// parts, so that one of many gets larger ones: up to 350 GiB in all.
const (
	partSize   = 5 << 20
	largeParts = 40 << 20
	smallParts = 1000 // of partSize, before
)

const contentType = "application/octet-stream"

// Config of a Store.
type Config struct {
	Bucket, Prefix string
	Endpoint       string // host:port; s3.amazonaws.com when empty
	Insecure       bool   // without TLS
	Region         string
	// Credentials; from the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY), the AWS configuration file or the
	// machine's role when nil.
	Credentials *credentials.Credentials
	Transport   http.RoundTripper // nil for the usual one
}

// A Store is a blob.Store in a bucket.
type Store struct {
	core   minio.Core
	bucket string
	prefix string // ends with '/' unless empty
}

var (
	_ blob.Store  = (*Store)(nil)
	_ blob.Locker = (*Store)(nil)
)

// Open opens a store. With create the bucket is made when it does not exist.
func Open(ctx context.Context, cfg Config, create bool) (*Store, error) {
	if cfg.Credentials == nil {
		cfg.Credentials = credentials.NewChainCredentials([]credentials.Provider{&credentials.EnvAWS{}, &credentials.FileAWSCredentials{}, &credentials.IAM{}})
	}
	core, err := minio.NewCore(cmp.Or(cfg.Endpoint, "s3.amazonaws.com"), &minio.Options{Creds: cfg.Credentials, Secure: !cfg.Insecure, Region: cfg.Region,
		Transport: cfg.Transport, MaxRetries: 5})
	if err != nil {
		return nil, dr.WithHint(fmt.Errorf("bucket %s: %w", cfg.Bucket, err), dr.KindInvalid, "s3://BUCKET/PREFIX?endpoint=https://HOST:PORT&region=REGION")
	}
	s := &Store{core: *core, bucket: cfg.Bucket, prefix: strings.Trim(cfg.Prefix, "/")}
	if s.prefix != "" {
		s.prefix += "/"
	}
	there, err := core.BucketExists(ctx, s.bucket)
	if err == nil && !there {
		if !create {
			return nil, dr.WithHint(fmt.Errorf("bucket %s does not exist", s.bucket), dr.KindNotFound, "understudy protect, or vault add, makes it")
		}
		err = core.MakeBucket(ctx, s.bucket, minio.MakeBucketOptions{Region: cfg.Region})
	}
	if err != nil {
		return nil, s.explain("open bucket", s.bucket, err)
	}
	return s, nil
}

// explain classes an error of the service.
func (s *Store) explain(op, name string, err error) error {
	var r minio.ErrorResponse
	wrap := func(as error) error { return fmt.Errorf("%s %s: %w", op, name, as) }
	if !errors.As(err, &r) || r.StatusCode == 0 {
		if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
			return wrap(err)
		}
		return dr.WithHint(wrap(err), dr.KindUnavailable, "see that the object store can be reached from here")
	}
	switch {
	case r.StatusCode == http.StatusNotFound:
		return wrap(blob.ErrNotFound)
	case r.StatusCode == http.StatusForbidden || r.StatusCode == http.StatusUnauthorized:
		return dr.WithHint(wrap(err), dr.KindInvalid, "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of somebody who may use the bucket")
	case r.StatusCode >= 500 || r.StatusCode == http.StatusTooManyRequests:
		return dr.WithHint(wrap(err), dr.KindUnavailable, "the object store is overloaded or down: try again")
	}
	return wrap(err)
}

func status(err error) int { return minio.ToErrorResponse(err).StatusCode }

// Create implements blob.Store.
func (s *Store) Create(ctx context.Context, name string, r io.Reader) (blob.Info, error) {
	return s.create(ctx, name, r, minio.PutObjectOptions{ContentType: contentType})
}

func (s *Store) create(ctx context.Context, name string, r io.Reader, o minio.PutObjectOptions) (blob.Info, error) {
	if err := blob.CheckName(name); err != nil {
		return blob.Info{}, err
	}
	from := &blob.Source{Ctx: ctx, R: r}
	info, err := s.put(ctx, s.prefix+name, from, o)
	switch {
	case from.Err != nil:
		return blob.Info{}, fmt.Errorf("create %s: %w", name, from.Err)
	case err != nil && (status(err) == http.StatusPreconditionFailed || status(err) == http.StatusConflict):
		return blob.Info{}, fmt.Errorf("create %s: %w", name, blob.ErrExists)
	case err != nil:
		return blob.Info{}, s.explain("create", name, err)
	}
	modified := info.LastModified
	if modified.IsZero() {
		modified = time.Now()
	}
	return blob.Info{Name: name, Size: from.N, Modified: modified}, nil
}

// put stores an object whose size is not known before, unless its name is taken: in one request or, when it is large, in
// parts that become visible with the last request.
func (s *Store) put(ctx context.Context, key string, from *blob.Source, o minio.PutObjectOptions) (info minio.UploadInfo, err error) {
	created := o // what is said when an upload in parts begins
	o.DisableMultipart = true
	o.SetMatchETagExcept("*")
	buf := make([]byte, partSize)
	n, err := io.ReadFull(from, buf)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		if from.Err != nil {
			return info, from.Err
		}
		info, err = s.core.Client.PutObject(ctx, s.bucket, key, bytes.NewReader(buf[:n]), int64(n), o)
		if err == nil || !s.locksItself(ctx, err, &o) {
			return info, err
		}
		return s.core.Client.PutObject(ctx, s.bucket, key, bytes.NewReader(buf[:n]), int64(n), o)
	}
	if err != nil {
		return info, err
	}
	upload, err := s.core.NewMultipartUpload(ctx, s.bucket, key, created)
	if err != nil && s.locksItself(ctx, err, &created) {
		upload, err = s.core.NewMultipartUpload(ctx, s.bucket, key, created)
	}
	if err != nil {
		return info, err
	}
	defer func() {
		if err != nil {
			// What is left of it is removed; where that fails, by the bucket's rule for incomplete uploads.
			_ = s.core.AbortMultipartUpload(context.WithoutCancel(ctx), s.bucket, key, upload)
		}
	}()
	var parts []minio.CompletePart
	for more := true; more; {
		part, err := s.core.PutObjectPart(ctx, s.bucket, key, upload, len(parts)+1, bytes.NewReader(buf[:n]), int64(n), partOptions(buf[:n], o))
		if err != nil {
			return info, err
		}
		if parts = append(parts, minio.CompletePart{PartNumber: part.PartNumber, ETag: part.ETag}); len(parts) == smallParts {
			buf = make([]byte, largeParts)
		}
		if n, err = io.ReadFull(from, buf); err != nil && err != io.EOF && err != io.ErrUnexpectedEOF || from.Err != nil {
			return info, errors.Join(err, from.Err)
		}
		more = n > 0
	}
	done := minio.PutObjectOptions{ContentType: o.ContentType}
	done.SetMatchETagExcept("*")
	return s.core.CompleteMultipartUpload(ctx, s.bucket, key, upload, parts, done)
}

// ReadAt implements blob.Store.
func (s *Store) ReadAt(ctx context.Context, name string, p []byte, off int64) error {
	if err := blob.CheckName(name); err != nil {
		return err
	}
	if off < 0 {
		return dr.WithHint(fmt.Errorf("read %s: negative offset %d", name, off), dr.KindInvalid, "")
	}
	short := fmt.Errorf("read %s: %d bytes at %d: %w", name, len(p), off, io.ErrUnexpectedEOF)
	if len(p) == 0 {
		info, err := s.Stat(ctx, name)
		if err == nil && off > info.Size {
			err = short
		}
		return err
	}
	o := minio.GetObjectOptions{}
	if err := o.SetRange(off, off+int64(len(p))-1); err != nil {
		return err
	}
	body, _, _, err := s.core.GetObject(ctx, s.bucket, s.prefix+name, o)
	if status(err) == http.StatusRequestedRangeNotSatisfiable {
		return short
	}
	if err != nil {
		return s.explain("read", name, err)
	}
	n, err := io.ReadFull(body, p)
	err = errors.Join(err, body.Close())
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		// The object may be shorter, or the connection ended: only its size tells.
		if info, serr := s.Stat(ctx, name); serr == nil && info.Size >= off+int64(len(p)) {
			return dr.WithHint(fmt.Errorf("read %s: the answer ended after %d of %d bytes", name, n, len(p)), dr.KindUnavailable, "try again")
		}
		return short
	}
	if err != nil {
		return s.explain("read", name, err)
	}
	return nil
}

// Stat implements blob.Store.
func (s *Store) Stat(ctx context.Context, name string) (blob.Info, error) {
	if err := blob.CheckName(name); err != nil {
		return blob.Info{}, err
	}
	info, err := s.core.StatObject(ctx, s.bucket, s.prefix+name, minio.StatObjectOptions{})
	if err != nil {
		return blob.Info{}, s.explain("stat", name, err)
	}
	return blob.Info{Name: name, Size: info.Size, Modified: info.LastModified}, nil
}

// List implements blob.Store.
func (s *Store) List(ctx context.Context, prefix string, fn func(blob.Info) error) error {
	if err := blob.CheckPrefix(prefix); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	for o := range s.core.Client.ListObjects(ctx, s.bucket, minio.ListObjectsOptions{Prefix: s.prefix + prefix, Recursive: true}) {
		if o.Err != nil {
			return s.explain("list", prefix, o.Err)
		}
		if strings.HasSuffix(o.Key, "/") {
			continue // a folder's mark, which is nobody's object
		}
		if err := fn(blob.Info{Name: strings.TrimPrefix(o.Key, s.prefix), Size: o.Size, Modified: o.LastModified}); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// Delete implements blob.Store.
func (s *Store) Delete(ctx context.Context, name string) error {
	if err := blob.CheckName(name); err != nil {
		return err
	}
	err := s.core.RemoveObject(ctx, s.bucket, s.prefix+name, minio.RemoveObjectOptions{})
	if err != nil && status(err) != http.StatusNotFound {
		return s.explain("delete", name, err)
	}
	return nil
}

// GetTagged implements blob.Store.
func (s *Store) GetTagged(ctx context.Context, name string) ([]byte, string, error) {
	sealed, tag, err := s.sealed(ctx, name)
	if err != nil {
		return nil, "", err
	}
	data, err := blob.Unseal(name, sealed)
	return data, tag, err
}

func (s *Store) sealed(ctx context.Context, name string) ([]byte, string, error) {
	if err := blob.CheckName(name); err != nil {
		return nil, "", err
	}
	body, info, _, err := s.core.GetObject(ctx, s.bucket, s.prefix+name, minio.GetObjectOptions{})
	if err != nil {
		return nil, "", s.explain("get", name, err)
	}
	data, err := io.ReadAll(io.LimitReader(body, int64(blob.SealedSize)+1))
	if err = errors.Join(err, body.Close()); err != nil {
		return nil, "", s.explain("get", name, err)
	}
	return data, info.ETag, nil
}

// PutTagged implements blob.Store.
func (s *Store) PutTagged(ctx context.Context, name string, data []byte, tag string) (string, error) {
	if err := blob.CheckName(name); err != nil {
		return "", err
	}
	sealed, err := blob.Seal(name, data)
	if err != nil {
		return "", err
	}
	o := minio.PutObjectOptions{ContentType: contentType, DisableMultipart: true}
	if tag == "" {
		o.SetMatchETagExcept("*")
	} else {
		o.SetMatchETag(tag)
	}
	info, err := s.core.Client.PutObject(ctx, s.bucket, s.prefix+name, bytes.NewReader(sealed), int64(len(sealed)), o)
	if err == nil {
		return info.ETag, nil
	}
	switch status(err) {
	case http.StatusPreconditionFailed, http.StatusConflict, http.StatusNotFound:
		// A request whose answer was lost and that was sent again finds what it wrote itself.
		if now, tag, gerr := s.sealed(ctx, name); gerr == nil && bytes.Equal(now, sealed) {
			return tag, nil
		}
		return "", fmt.Errorf("put %s: %w", name, blob.ErrChanged)
	}
	return "", s.explain("put", name, err)
}
