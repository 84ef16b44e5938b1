package pages

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	azcontainer "github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/pageblob"

	"understudy/test/need"
)

// differences between Azurite (first) and this simulation (second) that are known, by what was asked. In each the simulation does what
// Microsoft documents. Not asked at all, because what is stored would differ from then on: more than 4 MiB in one upload, a blob of more
// than 8 TiB, and a write to a snapshot, all of which Azurite accepts; and differences of snapshots, which it answers with all ranges.
var differences = map[string]string{
	"upload of half a page: InvalidOperation, InvalidHeaderValue":               "the range is a header, and its value is what is wrong",
	"clear of half a page: Requested Range Not Satisfiable, InvalidHeaderValue": "as above; Azurite's is no code of the service",
	"resize by a byte: InvalidOperation, InvalidHeaderValue":                    "the size is a header, as when a blob is created",
}

// A side is a container of one of the services, and what the test knows of the blob in it.
type side struct {
	blob      *pageblob.Client
	etag, old azcore.ETag
	snapshots []string
}

func newSide(t *testing.T, account, key, base string) *side {
	t.Helper()
	cred, err := azcontainer.NewSharedKeyCredential(account, key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := azcontainer.NewClientWithSharedKeyCredential(base+"/"+account+"/disks", cred, &azcontainer.ClientOptions{ClientOptions: azcore.ClientOptions{Retry: policy.RetryOptions{MaxRetries: -1}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Create(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	return &side{blob: c.NewPageBlobClient("b"), old: "0x0"}
}

// saw keeps the newest tag, and returns how a request went.
func (s *side) saw(etag *azcore.ETag, err error) string {
	if err != nil {
		var e *azcore.ResponseError
		if errors.As(err, &e) {
			return e.ErrorCode
		}
		return err.Error()
	}
	if etag != nil && *etag != s.etag {
		s.old, s.etag = s.etag, *etag
	}
	return "ok"
}

// A step is something that is asked of both sides.
type step struct {
	name string
	do   func(context.Context, *side) string
}

// TestAgainstAzurite does the same to Azurite and to the simulation, at random, and compares what can be seen of it.
func TestAgainstAzurite(t *testing.T) {
	azurite := need.Blob(t)
	service := New(Options{URL: func() string { return "" }})
	service.AddAccount(azurite.User, []byte("key"), false)
	server := httptest.NewServer(serveAccounts{service})
	defer server.Close()
	sides := []*side{
		newSide(t, azurite.User, azurite.Secret, "http://"+azurite.Address),
		newSide(t, azurite.User, "a2V5", server.URL),
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	const size = 64 * PageSize
	create := step{"create", func(ctx context.Context, s *side) string {
		got, err := s.blob.Create(ctx, size, nil)
		return s.saw(got.ETag, err)
	}}
	met := map[string]bool{}
	now := int64(size) // the size, as the steps leave it
	for n := range 175 {
		// Every step is taken once, and then they come at random.
		one := create
		if steps := randomSteps(rnd, &now); n > len(steps) {
			one = steps[rnd.IntN(len(steps))]
		} else if n > 0 {
			one = steps[n-1]
		}
		var got []string
		for _, s := range sides {
			got = append(got, one.do(t.Context(), s))
		}
		if key := fmt.Sprintf("%s: %s, %s", one.name, got[0], got[1]); got[0] != got[1] {
			if differences[key] == "" && !met[key] {
				t.Errorf("step %d: %s", n, key)
			}
			met[key] = true
		}
		var seen []string
		for _, s := range sides {
			seen = append(seen, s.see(t))
		}
		if seen[0] != seen[1] {
			t.Fatalf("step %d, %s: Azurite shows\n%s\nand the simulation\n%s", n, one.name, seen[0], seen[1])
		}
	}
	for key := range differences {
		if !met[key] {
			t.Errorf("no such difference any more: %s", key)
		}
	}
}

// see describes all that there is: size, number, metadata, ranges and content of the blob and of its snapshots.
func (s *side) see(t *testing.T) string {
	t.Helper()
	var out strings.Builder
	for _, at := range append([]string{""}, s.snapshots...) {
		c, err := s.blob.WithSnapshot(at)
		if err != nil {
			t.Fatal(err)
		}
		p, err := c.GetProperties(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "%d bytes, number %d, %d of metadata;", *p.ContentLength, *p.BlobSequenceNumber, len(p.Metadata))
		// Azurite does not join ranges that follow each other.
		var ranges []Range
		for pager := c.NewGetPageRangesPager(nil); pager.More(); {
			page, err := pager.NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range page.PageRange {
				one := Range{Offset: *r.Start, Length: *r.End + 1 - *r.Start}
				if l := len(ranges) - 1; l >= 0 && ranges[l].End() == one.Offset {
					ranges[l].Length += one.Length
					continue
				}
				ranges = append(ranges, one)
			}
		}
		fmt.Fprintf(&out, " %v", ranges)
		if *p.ContentLength == 0 {
			continue
		}
		d, err := c.DownloadStream(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(d.Body)
		_ = d.Body.Close() // read
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "; %s\n", md5Of(data))
	}
	return out.String()
}

// randomSteps are all that may be asked next, with numbers at random.
func randomSteps(rnd *rand.Rand, size *int64) []step {
	pages := max(*size/PageSize, 1)
	from := rnd.Int64N(pages)
	span := blob.HTTPRange{Offset: from * PageSize, Count: (1 + rnd.Int64N(min(pages-from, 8))) * PageSize}
	fill := byte(1 + rnd.IntN(255))
	upload := func(r blob.HTTPRange, name string, o func(*side) *pageblob.UploadPagesOptions) step {
		return step{"upload " + name, func(ctx context.Context, s *side) string {
			got, err := s.blob.UploadPages(ctx, streaming.NopCloser(bytes.NewReader(bytes.Repeat([]byte{fill}, int(r.Count)))), r, o(s))
			return s.saw(got.ETag, err)
		}}
	}
	none := func(*side) *pageblob.UploadPagesOptions { return nil }
	when := func(c func(*side) blob.ModifiedAccessConditions) func(*side) *pageblob.UploadPagesOptions {
		return func(s *side) *pageblob.UploadPagesOptions {
			return &pageblob.UploadPagesOptions{AccessConditions: &blob.AccessConditions{ModifiedAccessConditions: to.Ptr(c(s))}}
		}
	}
	number := rnd.Int64N(6)
	counted := func(c pageblob.SequenceNumberAccessConditions) func(*side) *pageblob.UploadPagesOptions {
		return func(*side) *pageblob.UploadPagesOptions {
			return &pageblob.UploadPagesOptions{SequenceNumberAccessConditions: &c}
		}
	}
	count := func(action pageblob.SequenceNumberActionType) step {
		return step{"number " + string(action), func(ctx context.Context, s *side) string {
			o := &pageblob.UpdateSequenceNumberOptions{ActionType: &action}
			if action != pageblob.SequenceNumberActionTypeIncrement {
				o.SequenceNumber = &number
			}
			got, err := s.blob.UpdateSequenceNumber(ctx, o)
			return s.saw(got.ETag, err)
		}}
	}
	clearPages := func(r blob.HTTPRange, name string) step {
		return step{"clear " + name, func(ctx context.Context, s *side) string {
			got, err := s.blob.ClearPages(ctx, r, nil)
			return s.saw(got.ETag, err)
		}}
	}
	resize := func(to int64, name string) step {
		return step{"resize " + name, func(ctx context.Context, s *side) string {
			got, err := s.blob.Resize(ctx, to, nil)
			if err == nil {
				*size = to
			}
			return s.saw(got.ETag, err)
		}}
	}
	half := blob.HTTPRange{Offset: span.Offset, Count: span.Count - PageSize/2}
	past, future := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	return []step{
		upload(span, "of pages", none),
		clearPages(span, "of pages"), clearPages(half, "of half a page"),
		upload(half, "of half a page", none),
		resize(rnd.Int64N(96)*PageSize, ""), resize(*size+1, "by a byte"),
		count(pageblob.SequenceNumberActionTypeIncrement), count(pageblob.SequenceNumberActionTypeMax), count(pageblob.SequenceNumberActionTypeUpdate),
		{"snapshot", func(ctx context.Context, s *side) string {
			if len(s.snapshots) == 4 {
				c, err := s.blob.WithSnapshot(s.snapshots[0])
				if err == nil {
					_, err = c.Delete(ctx, nil)
				}
				s.snapshots = s.snapshots[1:]
				return s.saw(nil, err)
			}
			got, err := s.blob.CreateSnapshot(ctx, nil)
			if err == nil {
				s.snapshots = append(slices.Clone(s.snapshots), *got.Snapshot)
			}
			return s.saw(nil, err)
		}},
		{"delete with snapshots", func(ctx context.Context, s *side) string {
			if len(s.snapshots) == 0 {
				return "nothing to try"
			}
			_, err := s.blob.Delete(ctx, nil)
			return s.saw(nil, err)
		}},
		{"metadata", func(ctx context.Context, s *side) string {
			meta := map[string]*string{}
			for i := range fill % 3 {
				meta[fmt.Sprintf("m%d", i)] = to.Ptr("x")
			}
			got, err := s.blob.SetMetadata(ctx, meta, nil)
			return s.saw(got.ETag, err)
		}},
		upload(span, "if the tag is right", when(func(s *side) blob.ModifiedAccessConditions { return blob.ModifiedAccessConditions{IfMatch: &s.etag} })),
		upload(span, "if the tag is the one before", when(func(s *side) blob.ModifiedAccessConditions { return blob.ModifiedAccessConditions{IfMatch: &s.old} })),
		upload(span, "if the tag is another", when(func(s *side) blob.ModifiedAccessConditions { return blob.ModifiedAccessConditions{IfNoneMatch: &s.old} })),
		upload(span, "if the tag is not right", when(func(s *side) blob.ModifiedAccessConditions {
			return blob.ModifiedAccessConditions{IfNoneMatch: &s.etag}
		})),
		upload(span, "if changed since an hour ago", when(func(*side) blob.ModifiedAccessConditions {
			return blob.ModifiedAccessConditions{IfModifiedSince: &past}
		})),
		upload(span, "if changed since in an hour", when(func(*side) blob.ModifiedAccessConditions {
			return blob.ModifiedAccessConditions{IfModifiedSince: &future}
		})),
		upload(span, "unless changed since an hour ago", when(func(*side) blob.ModifiedAccessConditions {
			return blob.ModifiedAccessConditions{IfUnmodifiedSince: &past}
		})),
		upload(span, "unless changed since in an hour", when(func(*side) blob.ModifiedAccessConditions {
			return blob.ModifiedAccessConditions{IfUnmodifiedSince: &future}
		})),
		upload(span, "if the number is less", counted(pageblob.SequenceNumberAccessConditions{IfSequenceNumberLessThan: &number})),
		upload(span, "if the number is no more", counted(pageblob.SequenceNumberAccessConditions{IfSequenceNumberLessThanOrEqualTo: &number})),
		upload(span, "if the number is right", counted(pageblob.SequenceNumberAccessConditions{IfSequenceNumberEqualTo: &number})),
	}
}
