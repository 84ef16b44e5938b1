// Package azblob keeps objects in a container of Azure Blob Storage, as block blobs.
package azblob

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	sdk "github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	azb "github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"understudy/internal/dr"
	"understudy/internal/vault/blob"
)

// blockSize is how much of a large object one request sends, in bytes; an object has at most 50000 blocks.
const blockSize = 8 << 20

// Config of a Store.
type Config struct {
	Account, Container, Prefix string
	Endpoint                   string // of the account; https://ACCOUNT.blob.core.windows.net when empty
	Key                        string // of the account; when empty the identity of the environment logs in
	Transport                  policy.Transporter
}

// A Store is a blob.Store in a container.
type Store struct {
	c      *container.Client
	prefix string // ends with '/' unless empty
}

var (
	_ blob.Store  = (*Store)(nil)
	_ blob.Locker = (*Store)(nil)
)

// Open opens a store. With create the container is made when it does not exist.
func Open(ctx context.Context, cfg Config, create bool) (*Store, error) {
	url := cfg.Endpoint
	if url == "" {
		url = "https://" + cfg.Account + ".blob.core.windows.net"
	}
	url = strings.TrimRight(url, "/") + "/" + cfg.Container
	options := &container.ClientOptions{ClientOptions: azcore.ClientOptions{Transport: cfg.Transport,
		Retry: policy.RetryOptions{MaxRetries: 4, RetryDelay: 300 * time.Millisecond, MaxRetryDelay: 10 * time.Second}}}
	s := &Store{prefix: strings.Trim(cfg.Prefix, "/")}
	if s.prefix != "" {
		s.prefix += "/"
	}
	var err error
	if cfg.Key != "" {
		var key *container.SharedKeyCredential
		if key, err = sdk.NewSharedKeyCredential(cfg.Account, cfg.Key); err == nil {
			s.c, err = container.NewClientWithSharedKeyCredential(url, key, options)
		}
	} else {
		var credential *azidentity.DefaultAzureCredential
		if credential, err = azidentity.NewDefaultAzureCredential(nil); err == nil {
			s.c, err = container.NewClient(url, credential, options)
		}
	}
	if err != nil {
		return nil, dr.WithHint(fmt.Errorf("container %s of %s: %w", cfg.Container, cfg.Account, err), dr.KindInvalid, "set AZURE_STORAGE_KEY, or log in as docs/azure.md says")
	}
	_, err = s.c.GetProperties(ctx, nil)
	if status(err) == http.StatusNotFound {
		if !create {
			return nil, dr.WithHint(fmt.Errorf("container %s does not exist", cfg.Container), dr.KindNotFound, "understudy protect, or vault add, makes it")
		}
		_, err = s.c.Create(ctx, nil)
	}
	if err != nil {
		return nil, s.explain("open container", cfg.Container, err)
	}
	return s, nil
}

func status(err error) int {
	var e *azcore.ResponseError
	if errors.As(err, &e) {
		return e.StatusCode
	}
	return 0
}

// explain classes an error of the service.
func (s *Store) explain(op, name string, err error) error {
	wrap := func(as error) error { return fmt.Errorf("%s %s: %w", op, name, as) }
	var e *azcore.ResponseError
	if !errors.As(err, &e) {
		if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
			return wrap(err)
		}
		return dr.WithHint(wrap(err), dr.KindUnavailable, "see that the storage account can be reached from here")
	}
	short := fmt.Errorf("azure says %s (status %d)", e.ErrorCode, e.StatusCode)
	switch {
	case e.StatusCode == http.StatusNotFound:
		return wrap(blob.ErrNotFound)
	case e.StatusCode == http.StatusForbidden || e.StatusCode == http.StatusUnauthorized:
		return dr.WithHint(wrap(short), dr.KindInvalid, "set AZURE_STORAGE_KEY, or give the identity the role Storage Blob Data Contributor")
	case e.StatusCode >= 500 || e.StatusCode == http.StatusTooManyRequests:
		return dr.WithHint(wrap(short), dr.KindUnavailable, "the storage account is overloaded or down: try again")
	}
	return wrap(short)
}

func (s *Store) blob(name string) *blockblob.Client { return s.c.NewBlockBlobClient(s.prefix + name) }

// absent is the condition that nothing has the name.
func absent() *azb.AccessConditions {
	return &azb.AccessConditions{ModifiedAccessConditions: &azb.ModifiedAccessConditions{IfNoneMatch: to.Ptr(azcore.ETagAny)}}
}

// Create implements blob.Store.
func (s *Store) Create(ctx context.Context, name string, r io.Reader) (blob.Info, error) {
	if err := blob.CheckName(name); err != nil {
		return blob.Info{}, err
	}
	from := &blob.Source{Ctx: ctx, R: r}
	resp, err := s.blob(name).UploadStream(ctx, from, &blockblob.UploadStreamOptions{BlockSize: blockSize, Concurrency: 1, AccessConditions: absent()})
	return s.created(name, from, resp.LastModified, err)
}

// created is the outcome of a creation.
func (s *Store) created(name string, from *blob.Source, modified *time.Time, err error) (blob.Info, error) {
	switch {
	case from.Err != nil:
		return blob.Info{}, fmt.Errorf("create %s: %w", name, from.Err)
	case status(err) == http.StatusConflict || status(err) == http.StatusPreconditionFailed:
		return blob.Info{}, fmt.Errorf("create %s: %w", name, blob.ErrExists)
	case err != nil:
		return blob.Info{}, s.explain("create", name, err)
	}
	return blob.Info{Name: name, Size: from.N, Modified: *modified}, nil
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
	resp, err := s.blob(name).DownloadStream(ctx, &azb.DownloadStreamOptions{Range: azb.HTTPRange{Offset: off, Count: int64(len(p))}})
	if status(err) == http.StatusRequestedRangeNotSatisfiable {
		return short
	}
	if err != nil {
		return s.explain("read", name, err)
	}
	if resp.ContentLength == nil || *resp.ContentLength < int64(len(p)) {
		return errors.Join(short, resp.Body.Close())
	}
	body := resp.NewRetryReader(ctx, &azb.RetryReaderOptions{MaxRetries: 4})
	_, err = io.ReadFull(body, p)
	if err = errors.Join(err, body.Close()); err != nil {
		return dr.WithHint(fmt.Errorf("read %s: %w", name, err), dr.KindUnavailable, "try again")
	}
	return nil
}

// Stat implements blob.Store.
func (s *Store) Stat(ctx context.Context, name string) (blob.Info, error) {
	if err := blob.CheckName(name); err != nil {
		return blob.Info{}, err
	}
	p, err := s.blob(name).GetProperties(ctx, nil)
	if err != nil {
		return blob.Info{}, s.explain("stat", name, err)
	}
	return blob.Info{Name: name, Size: *p.ContentLength, Modified: *p.LastModified}, nil
}

// List implements blob.Store.
func (s *Store) List(ctx context.Context, prefix string, fn func(blob.Info) error) error {
	if err := blob.CheckPrefix(prefix); err != nil {
		return err
	}
	pager := s.c.NewListBlobsFlatPager(&container.ListBlobsFlatOptions{Prefix: to.Ptr(s.prefix + prefix)})
	for pager.More() {
		page, err := pager.NextPage(ctx)
		if err != nil {
			return s.explain("list", prefix, err)
		}
		for _, b := range page.Segment.BlobItems {
			if err := fn(blob.Info{Name: strings.TrimPrefix(*b.Name, s.prefix), Size: *b.Properties.ContentLength, Modified: *b.Properties.LastModified}); err != nil {
				return err
			}
		}
	}
	return nil
}

// Delete implements blob.Store.
func (s *Store) Delete(ctx context.Context, name string) error {
	if err := blob.CheckName(name); err != nil {
		return err
	}
	if _, err := s.blob(name).Delete(ctx, nil); err != nil && status(err) != http.StatusNotFound {
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
	resp, err := s.blob(name).DownloadStream(ctx, nil)
	if err != nil {
		return nil, "", s.explain("get", name, err)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, int64(blob.SealedSize)+1))
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return nil, "", s.explain("get", name, err)
	}
	return data, string(*resp.ETag), nil
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
	condition := absent()
	if tag != "" {
		condition.ModifiedAccessConditions = &azb.ModifiedAccessConditions{IfMatch: to.Ptr(azcore.ETag(tag))}
	}
	resp, err := s.blob(name).UploadBuffer(ctx, sealed, &blockblob.UploadBufferOptions{AccessConditions: condition})
	if err == nil {
		return string(*resp.ETag), nil
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
