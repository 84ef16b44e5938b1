package azure

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/pageblob"
	"golang.org/x/sync/errgroup"

	"understudy/internal/dr"
	"understudy/internal/imagefile"
	"understudy/internal/nbd"
)

const (
	pageSize   = 512
	maxPages   = 4 << 20 // that one request writes, in bytes
	transfers  = 8       // requests to one disk at a time
	grantTime  = time.Hour
	grantLeft  = 10 * time.Minute // a grant with less than that is renewed
	uploadUnit = 1 << 20          // sizes of disks are multiples of it
)

// A diskSpec says what disk to make.
type diskSpec struct {
	id, zone, sku  string
	size           int64
	os, generation string // of a disk that a machine starts from
	tags           map[string]string
}

// makeDisk makes a disk to be uploaded and, when it has a source, uploads it. It is idempotent.
func (s *Site) makeDisk(ctx context.Context, spec diskSpec, source string) error {
	var d disk
	err := s.rest.get(ctx, spec.id, nil, &d)
	switch {
	case err == nil && !uploading(d):
		return nil
	case err != nil && !is(err, http.StatusNotFound):
		return err
	case err != nil:
		if err := s.putDisk(ctx, spec); err != nil {
			return err
		}
	}
	if source == "" {
		return nil
	}
	if err := s.upload(ctx, spec, source); err != nil {
		return err
	}
	return s.finishDisk(ctx, spec.id, spec.size)
}

func (s *Site) putDisk(ctx context.Context, spec diskSpec) error {
	properties := map[string]any{"creationData": map[string]any{"createOption": "Upload", "uploadSizeBytes": roundUp(spec.size) + imagefile.Sector}}
	if spec.os != "" {
		properties["osType"], properties["hyperVGeneration"] = map[bool]string{true: "Windows", false: "Linux"}[spec.os == "windows"], spec.generation
	}
	body := map[string]any{"location": s.cfg.Location, "tags": spec.tags, "sku": map[string]any{"name": spec.sku}, "properties": properties}
	if spec.zone != "" {
		body["zones"] = []string{spec.zone}
	}
	return s.rest.run(ctx, call{http.MethodPut, spec.id, nil, body}, nil)
}

func uploading(d disk) bool {
	return d.Properties.DiskState == "ReadyToUpload" || d.Properties.DiskState == "ActiveUpload"
}

func roundUp(n int64) int64 { return (n + uploadUnit - 1) / uploadUnit * uploadUnit }

// upload writes what a source holds to a disk: what is known to be zero is never sent.
func (s *Site) upload(ctx context.Context, spec diskSpec, source string) (err error) {
	from, err := nbd.Dial(ctx, source, nbd.DialOptions{MetaContexts: []string{nbd.MetaAllocation}, Connections: 2})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	to := s.access(spec.id, true)
	size := min(from.Size(), spec.size)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(transfers)
	err = spans(gctx, from, size, func(off, n int64) {
		g.Go(func() error {
			p := make([]byte, (n+pageSize-1)/pageSize*pageSize)
			if _, err := from.ReadContext(gctx, p[:n], off); err != nil {
				return err
			}
			if len(bytes.Trim(p, "\x00")) == 0 {
				return nil
			}
			return to.write(gctx, p, off)
		})
	})
	return errors.Join(err, g.Wait())
}

// spans calls fn for the pieces of a source that may hold data.
func spans(ctx context.Context, from *nbd.Client, size int64, fn func(off, n int64)) error {
	const look = 1 << 30
	for at := int64(0); at < size; at += look {
		list := []dr.Extent{{Offset: at, Length: min(look, size-at)}}
		if len(from.MetaContexts()) > 0 {
			var err error
			if list, err = from.Extents(ctx, at, min(look, size-at)); err != nil {
				return err
			}
		}
		for _, e := range list {
			first := e.Offset / pageSize * pageSize
			for off := first; off < e.End() && !e.Zero; off += maxPages {
				fn(off, min(maxPages, min(e.End()+pageSize-1, size)-off))
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
		}
	}
	return nil
}

// finishDisk ends the upload of a disk: from then on it can be read and attached, and no longer written.
func (s *Site) finishDisk(ctx context.Context, id string, size int64) error {
	if err := s.access(id, true).write(ctx, imagefile.FixedVHDFooter(roundUp(size), id), roundUp(size)); err != nil {
		return err
	}
	return s.endAccess(ctx, id)
}

func (s *Site) endAccess(ctx context.Context, id string) error {
	err := s.rest.run(ctx, call{http.MethodPost, id + "/endGetAccess", nil, nil}, nil)
	if is(err, http.StatusNotFound) {
		return nil
	}
	return err
}

// deleteDisk deletes a disk or a snapshot, also one that somebody may still read.
func (s *Site) deleteDisk(ctx context.Context, id string) error {
	if err := s.endAccess(ctx, id); err != nil {
		return err
	}
	err := s.rest.run(ctx, call{http.MethodDelete, id, nil, nil}, nil)
	if is(err, http.StatusNotFound) {
		return nil
	}
	return err
}

// access is the content of a disk or snapshot, through a grant that is renewed before it ends. Its methods may be called
// from many goroutines at once.
type access struct {
	s     *Site
	id    string
	right string // Read or Write

	mu      sync.Mutex
	client  *pageblob.Client
	url     string
	expires time.Time
}

func (s *Site) access(id string, write bool) *access {
	right := "Read"
	if write {
		right = "Write"
	}
	return &access{s: s, id: id, right: right}
}

// beginAccess asks for a grant.
func (s *Site) beginAccess(id, right string) call {
	return call{http.MethodPost, id + "/beginGetAccess", nil, map[string]any{"access": right, "durationInSeconds": int(grantTime.Seconds())}}
}

// grant returns a client with a grant that is in force.
func (a *access) grant(ctx context.Context) (*pageblob.Client, string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.client != nil && a.expires.Sub(a.s.cfg.Now()) > grantLeft {
		return a.client, a.url, nil
	}
	var answer struct {
		AccessSAS string `json:"accessSAS"`
	}
	if err := a.s.rest.run(ctx, a.s.beginAccess(a.id, a.right), &answer); err != nil {
		return nil, "", fmt.Errorf("access to %s: %w", lastName(a.id), err)
	}
	var speak []policy.Policy
	if v := a.s.can.storage; v != "" {
		speak = append(speak, storageVersion(v))
	}
	client, err := pageblob.NewClientWithNoCredential(answer.AccessSAS, &pageblob.ClientOptions{ClientOptions: azcore.ClientOptions{Transport: a.s.http, PerCallPolicies: speak,
		Retry: policy.RetryOptions{MaxRetries: 5, RetryDelay: 200 * time.Millisecond, MaxRetryDelay: 10 * time.Second}}})
	if err != nil {
		return nil, "", err
	}
	a.client, a.url, a.expires = client, answer.AccessSAS, a.s.cfg.Now().Add(grantTime)
	return client, a.url, nil
}

// again forgets a grant that was refused, and reports whether that is worth another try.
func (a *access) again(c *pageblob.Client, err error) bool {
	if !bloberror.HasCode(err, bloberror.AuthenticationFailed, bloberror.AuthorizationFailure, bloberror.CannotVerifyCopySource) {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.client == c {
		a.client = nil
	}
	return true
}

// do calls fn with a client; once more with a new grant when the one that it had is refused.
func (a *access) do(ctx context.Context, fn func(c *pageblob.Client) error) error {
	for try := 0; ; try++ {
		c, _, err := a.grant(ctx)
		if err != nil {
			return err
		}
		if err = fn(c); err == nil || try > 1 || !a.again(c, err) {
			return err
		}
	}
}

// readAt fills p, which need not be of whole pages.
func (a *access) readAt(ctx context.Context, p []byte, off int64) error {
	return a.do(ctx, func(c *pageblob.Client) error {
		resp, err := c.DownloadStream(ctx, &blob.DownloadStreamOptions{Range: blob.HTTPRange{Offset: off, Count: int64(len(p))}})
		if err != nil {
			return err
		}
		body := resp.NewRetryReader(ctx, nil)
		_, err = io.ReadFull(body, p)
		return errors.Join(err, body.Close())
	})
}

// write writes whole pages.
func (a *access) write(ctx context.Context, p []byte, off int64) error {
	for len(p) > 0 {
		n := min(len(p), maxPages)
		err := a.do(ctx, func(c *pageblob.Client) error {
			_, err := c.UploadPages(ctx, streaming.NopCloser(bytes.NewReader(p[:n])), blob.HTTPRange{Offset: off, Count: int64(n)}, nil)
			return err
		})
		if err != nil {
			return err
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// clear makes whole pages zero.
func (a *access) clear(ctx context.Context, off, n int64) error {
	return a.do(ctx, func(c *pageblob.Client) error {
		_, err := c.ClearPages(ctx, blob.HTTPRange{Offset: off, Count: n}, nil)
		return err
	})
}

// ranges lists the pages in a range that hold data, in order, as extents of whole blocks.
func (a *access) ranges(ctx context.Context, off, n int64) ([]dr.Extent, error) {
	var out []dr.Extent
	err := a.do(ctx, func(c *pageblob.Client) error {
		out = nil
		pager := c.NewGetPageRangesPager(&pageblob.GetPageRangesOptions{Range: blob.HTTPRange{Offset: off, Count: n}})
		for pager.More() {
			page, err := pager.NextPage(ctx)
			if err != nil {
				return err
			}
			for _, r := range page.PageRange {
				out = cover(out, *r.Start, *r.End+1)
			}
		}
		return nil
	})
	return out, err
}

// since lists what was written or cleared after another snapshot of the same disk, in order, as extents of whole blocks.
func (a *access) since(ctx context.Context, older *access) ([]dr.Extent, error) {
	var out []dr.Extent
	err := a.do(ctx, func(c *pageblob.Client) error {
		_, previous, err := older.grant(ctx)
		if err != nil {
			return err
		}
		out = nil
		pager := c.NewGetPageRangesDiffPager(&pageblob.GetPageRangesDiffOptions{PrevSnapshotURL: &previous})
		for pager.More() {
			page, err := pager.NextPage(ctx)
			if err != nil {
				older.again(older.client, err)
				return err
			}
			out = coverBoth(out, page.PageRange, page.ClearRange)
		}
		return nil
	})
	return out, err
}

// coverBoth adds two ordered lists of ranges in the order of their beginnings.
func coverBoth(out []dr.Extent, pages []*pageblob.PageRange, clears []*pageblob.ClearRange) []dr.Extent {
	for len(pages)+len(clears) > 0 {
		if len(clears) == 0 || len(pages) > 0 && *pages[0].Start <= *clears[0].Start {
			out = cover(out, *pages[0].Start, *pages[0].End+1)
			pages = pages[1:]
			continue
		}
		out = cover(out, *clears[0].Start, *clears[0].End+1)
		clears = clears[1:]
	}
	return out
}

// cover adds the blocks that hold a range to a list in order.
func cover(list []dr.Extent, from, to int64) []dr.Extent {
	from = from / dr.BlockSize * dr.BlockSize
	to = (to + dr.BlockSize - 1) / dr.BlockSize * dr.BlockSize
	if l := len(list) - 1; l >= 0 && from <= list[l].End() {
		list[l].Length = max(list[l].End(), to) - list[l].Offset
		return list
	}
	return append(list, dr.Extent{Offset: from, Length: to - from})
}

// fill covers a range with extents: those given hold data, what is between them is zero.
func fill(data []dr.Extent, off, n int64) []dr.Extent {
	var out []dr.Extent
	at := off
	for _, e := range data {
		from, to := max(e.Offset, at), min(e.End(), off+n)
		if from >= to {
			continue
		}
		if from > at {
			out = append(out, dr.Extent{Offset: at, Length: from - at, Zero: true})
		}
		out = append(out, dr.Extent{Offset: from, Length: to - from})
		at = to
	}
	if at < off+n {
		out = append(out, dr.Extent{Offset: at, Length: off + n - at, Zero: true})
	}
	return out
}

// ours reports whether a resource has tags, without regard to the case of machines' names.
func ours(tags map[string]string, pairs ...string) bool {
	for i := 0; i < len(pairs); i += 2 {
		if !strings.EqualFold(tags[pairs[i]], pairs[i+1]) {
			return false
		}
	}
	return true
}
