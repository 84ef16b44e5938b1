package pages

import (
	"bytes"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/pageblob"
)

// TestCopy copies a disk into a storage account, which takes its time: it is looked at half way, and ends in each of the ways.
func TestCopy(t *testing.T) {
	const size, takes = 1 << 20, 100 * time.Second
	began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for name, tt := range map[string]struct {
		half   func(t *testing.T, s *Service, disk *Blob, into *pageblob.Client, id string)
		status blob.CopyStatusType
		holds  bool
	}{
		"completes": {func(*testing.T, *Service, *Blob, *pageblob.Client, string) {}, blob.CopyStatusTypeSuccess, true},
		"aborted": {func(t *testing.T, _ *Service, _ *Blob, into *pageblob.Client, id string) {
			if _, err := into.AbortCopyFromURL(t.Context(), id, nil); err != nil {
				t.Error(err)
			}
		}, blob.CopyStatusTypeAborted, false},
		"the grant expires": {func(_ *testing.T, s *Service, _ *Blob, _ *pageblob.Client, _ string) { s.Expire() }, blob.CopyStatusTypeFailed, false},
		"the grant is revoked": {func(_ *testing.T, s *Service, disk *Blob, _ *pageblob.Client, _ string) {
			s.Revoke(disk)
		}, blob.CopyStatusTypeFailed, false},
	} {
		t.Run(name, func(t *testing.T) {
			var passed atomic.Int64
			var server *httptest.Server
			s := New(Options{URL: func() string { return server.URL }, CopyTime: takes, Now: func() time.Time { return began.Add(time.Duration(passed.Load())) }})
			s.AddAccount("vault", []byte("key"), false)
			server = httptest.NewServer(serveAccounts{s})
			defer server.Close()
			into := newSide(t, "vault", "a2V5", server.URL).blob
			disk := s.CreateDisk("/d", size)
			_, _ = disk.WriteAt([]byte("boot"), 0)
			got, err := into.StartCopyFromURL(t.Context(), s.Grant(disk, false, began.Add(time.Hour)), nil)
			if err != nil || *got.CopyStatus != blob.CopyStatusTypePending {
				t.Fatalf("%v %v", got.CopyStatus, err)
			}
			passed.Store(int64(takes / 2))
			p, err := into.GetProperties(t.Context(), nil)
			if err != nil || *p.CopyStatus != blob.CopyStatusTypePending || *p.CopyProgress != "524288/1048576" {
				t.Fatalf("half way: %v %v %v", p.CopyStatus, p.CopyProgress, err)
			}
			if _, err := into.ClearPages(t.Context(), blob.HTTPRange{Count: PageSize}, nil); !bloberror.HasCode(err, bloberror.PendingCopyOperation) {
				t.Errorf("a write meanwhile: %v", err)
			}
			tt.half(t, s, disk, into, *got.CopyID)
			if _, err := into.GetProperties(t.Context(), nil); err != nil {
				t.Error(err)
			}
			passed.Store(int64(takes))
			p, err = into.GetProperties(t.Context(), nil)
			if err != nil || *p.CopyStatus != tt.status {
				t.Fatalf("at the end: %v %v", p.CopyStatus, err)
			}
			if failed := tt.status == blob.CopyStatusTypeFailed; failed != strings.HasPrefix(*or(p.CopyStatusDescription), "403 AuthenticationFailed") {
				t.Errorf("described as %q", *or(p.CopyStatusDescription))
			}
			if _, err := into.AbortCopyFromURL(t.Context(), *got.CopyID, nil); !bloberror.HasCode(err, bloberror.NoPendingCopyOperation) {
				t.Errorf("aborted at the end: %v", err)
			}
			data := make([]byte, 4)
			if tt.holds {
				if _, err := into.DownloadBuffer(t.Context(), data, &blob.DownloadBufferOptions{Range: blob.HTTPRange{Count: 4}}); err != nil || !bytes.Equal(data, []byte("boot")) {
					t.Errorf("holds %q: %v", data, err)
				}
			}
		})
	}
}

// or is a text, or an empty one.
func or(s *string) *string {
	if s == nil {
		return to.Ptr("")
	}
	return s
}
