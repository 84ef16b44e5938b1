package pages

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/pageblob"
)

func open(t *testing.T) (*Service, func(url string) *pageblob.Client) {
	var server *httptest.Server
	s := New(Options{URL: func() string { return server.URL }})
	server = httptest.NewServer(s)
	t.Cleanup(server.Close)
	return s, func(url string) *pageblob.Client {
		c, err := pageblob.NewClientWithNoCredential(url, &pageblob.ClientOptions{ClientOptions: azcore.ClientOptions{Retry: policy.RetryOptions{MaxRetries: -1}}})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
}

func write(t *testing.T, c *pageblob.Client, off int64, p []byte) {
	t.Helper()
	_, err := c.UploadPages(t.Context(), streaming.NopCloser(bytes.NewReader(p)), blob.HTTPRange{Offset: off, Count: int64(len(p))}, nil)
	if err != nil {
		t.Fatal(err)
	}
}

// TestDiff is what no other emulator does: the pages that changed between two snapshots, by the official client.
func TestDiff(t *testing.T) {
	s, client := open(t)
	disk := s.CreateDisk("/d", 1<<40)
	w := client(s.Grant(disk, true, time.Now().Add(time.Hour)))
	page := bytes.Repeat([]byte{7}, PageSize)
	write(t, w, 0, page)
	write(t, w, 1<<20, bytes.Repeat(page, 300))
	first := disk.Snapshot("/s1")
	write(t, w, 1<<39, page)
	write(t, w, 1<<20, page) // the same bytes again: written all the same
	if _, err := w.ClearPages(t.Context(), blob.HTTPRange{Offset: 0, Count: PageSize}, nil); err != nil {
		t.Fatal(err)
	}
	second := disk.Snapshot("/s2")
	write(t, w, 5*PageSize, page) // after the second

	expires := time.Now().Add(time.Hour)
	r := client(s.Grant(second, false, expires))
	pager := r.NewGetPageRangesDiffPager(&pageblob.GetPageRangesDiffOptions{PrevSnapshotURL: to.Ptr(s.Grant(first, false, expires)), MaxResults: to.Ptr(int32(2))})
	var pages, clears []int64
	for calls := 0; pager.More(); calls++ {
		got, err := pager.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range got.PageRange {
			pages = append(pages, *p.Start, *p.End)
		}
		for _, p := range got.ClearRange {
			clears = append(clears, *p.Start, *p.End)
		}
		if calls > 3 {
			t.Fatal("the listing does not end")
		}
	}
	if want := []int64{1 << 20, 1<<20 + 511, 1 << 39, 1<<39 + 511}; !equal(pages, want) {
		t.Errorf("pages %v, want %v", pages, want)
	}
	if want := []int64{0, 511}; !equal(clears, want) {
		t.Errorf("cleared %v, want %v", clears, want)
	}
	// The first snapshot is as it was.
	got := make([]byte, PageSize)
	if _, err := first.ReadAt(got, 0); err != nil || !bytes.Equal(got, page) {
		t.Errorf("the first snapshot changed: %v", err)
	}
}

func equal(a, b []int64) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

func TestGrants(t *testing.T) {
	s, client := open(t)
	disk := s.CreateDisk("/d", 1<<20)
	_, _ = disk.WriteAt([]byte("boot"), 0)
	read := client(s.Grant(disk, false, time.Now().Add(time.Hour)))
	if _, err := read.DownloadStream(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	_, err := read.ClearPages(t.Context(), blob.HTTPRange{Count: PageSize}, nil)
	if !bloberror.HasCode(err, bloberror.AuthorizationPermissionMismatch) {
		t.Errorf("a write by a grant to read: %v", err)
	}
	old := client(s.Grant(disk, false, time.Now().Add(-time.Second)))
	if _, err := old.DownloadStream(t.Context(), nil); !bloberror.HasCode(err, bloberror.AuthenticationFailed) {
		t.Errorf("a grant that expired: %v", err)
	}
	s.Revoke(disk)
	if _, err := read.DownloadStream(t.Context(), nil); !bloberror.HasCode(err, bloberror.AuthenticationFailed) {
		t.Errorf("a grant that was revoked: %v", err)
	}
}

func TestFromURL(t *testing.T) {
	s, client := open(t)
	from, into := s.CreateDisk("/a", 1<<20), s.CreateDisk("/b", 1<<20)
	_, _ = from.WriteAt(bytes.Repeat([]byte{9}, 8192), 4096)
	source := s.Grant(from, false, time.Now().Add(time.Hour))
	w := client(s.Grant(into, true, time.Now().Add(time.Hour)))
	if _, err := w.UploadPagesFromURL(t.Context(), source, 4096, 65536, 8192, nil); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 8192)
	if _, err := into.ReadAt(got, 65536); err != nil || !bytes.Equal(got, bytes.Repeat([]byte{9}, 8192)) {
		t.Errorf("copied %v: %v", got[:4], err)
	}
	s.Revoke(from)
	if _, err := w.UploadPagesFromURL(t.Context(), source, 4096, 65536, 8192, nil); !bloberror.HasCode(err, bloberror.CannotVerifyCopySource) {
		t.Errorf("a source whose grant ended: %v", err)
	}
}

// serveAccounts serves only the accounts of a service.
type serveAccounts struct{ s *Service }

func (a serveAccounts) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !a.s.Owns(r) {
		http.NotFound(w, r)
		return
	}
	a.s.ServeAccount(w, r)
}
