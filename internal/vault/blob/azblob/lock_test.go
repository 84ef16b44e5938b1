package azblob_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"understudy/internal/dr"
	"understudy/internal/vault/blob"
	"understudy/internal/vault/blob/azblob"
	"understudy/test/need"
)

// service answers as the blob service is documented to; it keeps what it was asked.
type service struct {
	asked  []*http.Request
	bodies []string
	answer func(*http.Request) (int, http.Header)
}

func (s *service) Do(r *http.Request) (*http.Response, error) {
	body := ""
	if r.Body != nil {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		body = string(b)
	}
	s.asked, s.bodies = append(s.asked, r), append(s.bodies, body)
	status, header := http.StatusOK, http.Header{}
	if s.answer != nil {
		status, header = s.answer(r)
	}
	header.Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
	return &http.Response{StatusCode: status, Status: http.StatusText(status), Header: header, Body: io.NopCloser(strings.NewReader("")), Request: r}, nil
}

// header is a header of a request, however it is spelt there.
func header(r *http.Request, name string) string {
	for key, values := range r.Header {
		if strings.EqualFold(key, name) {
			return strings.Join(values, ",")
		}
	}
	return ""
}

func openFake(t *testing.T, s *service) blob.Locker {
	t.Helper()
	store, err := azblob.Open(t.Context(), azblob.Config{Account: "account", Container: "vault", Key: "c2VjcmV0", Transport: s}, false)
	if err != nil {
		t.Fatal(err)
	}
	s.asked, s.bodies = nil, nil
	return store
}

// TestLockedRequests compares what is asked with the service's documentation: Azurite knows no immutability.
func TestLockedRequests(t *testing.T) {
	until := time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC)
	s := &service{}
	l := openFake(t, s)
	s.answer = func(*http.Request) (int, http.Header) { return http.StatusCreated, http.Header{} }
	info, err := l.CreateLocked(t.Context(), "a", strings.NewReader(strings.Repeat("x", 9<<20)), blob.Lock{Mode: blob.Compliance, Until: until})
	if err != nil || info.Size != 9<<20 || len(s.asked) != 3 {
		t.Fatalf("%+v, %v, %d requests", info, err, len(s.asked))
	}
	for i, r := range s.asked {
		q := r.URL.Query()
		if want := []string{"block", "block", "blocklist"}[i]; r.Method != http.MethodPut || q.Get("comp") != want {
			t.Errorf("request %d: %s %s", i, r.Method, r.URL)
		}
		if i < 2 && !strings.Contains(s.bodies[2], q.Get("blockid")) {
			t.Errorf("block %s is not in the list %s", q.Get("blockid"), s.bodies[2])
		}
	}
	commit := s.asked[2]
	if header(commit, "x-ms-immutability-policy-mode") != "Locked" || header(commit, "x-ms-immutability-policy-until-date") != until.Format(http.TimeFormat) || header(commit, "If-None-Match") != "*" {
		t.Errorf("commit: %v", commit.Header)
	}

	s.asked = nil
	s.answer = nil
	if err := l.Lock(t.Context(), "a", blob.Lock{Mode: blob.Governance, Until: until}); err != nil {
		t.Fatal(err)
	}
	if r := s.asked[0]; r.Method != http.MethodPut || r.URL.Query().Get("comp") != "immutabilityPolicies" || header(r, "x-ms-immutability-policy-mode") != "Unlocked" ||
		header(r, "x-ms-immutability-policy-until-date") != until.Format(http.TimeFormat) {
		t.Errorf("lock: %s %s %v", r.Method, r.URL, r.Header)
	}

	later := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	s.answer = func(r *http.Request) (int, http.Header) {
		if r.Method == http.MethodDelete {
			return http.StatusConflict, http.Header{"X-Ms-Error-Code": {"BlobImmutableDueToPolicy"}}
		}
		return http.StatusOK, http.Header{"X-Ms-Immutability-Policy-Until-Date": {later.Format(http.TimeFormat)}, "X-Ms-Immutability-Policy-Mode": {"locked"}}
	}
	if got, err := l.LockedUntil(t.Context(), "a"); err != nil || !got.Equal(later) {
		t.Errorf("locked until %s, %v; want %s", got, err, later)
	}
	if err := l.Purge(t.Context(), "a"); err == nil || !strings.Contains(err.Error(), blob.ErrLocked.Error()) {
		t.Errorf("purge: %v", err)
	}
}

// TestContainerWithoutLocks asks a service that has no immutability.
func TestContainerWithoutLocks(t *testing.T) {
	server := need.Blob(t)
	s, err := open(t, server, "plain", true)
	if err != nil {
		t.Fatal(err)
	}
	lock := blob.Lock{Mode: blob.Compliance, Until: time.Now().Add(time.Hour)}
	if err := s.Lock(t.Context(), "none", lock); err == nil {
		t.Error("locked what is not there")
	}
	if _, err := s.CreateLocked(t.Context(), "a", strings.NewReader("x"), lock); err != nil && (dr.KindOf(err) != dr.KindInvalid || !strings.Contains(dr.Hint(err), "immutability")) {
		t.Errorf("%v (%s)", err, dr.Hint(err))
	}
}
