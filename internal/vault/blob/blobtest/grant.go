package blobtest

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"understudy/internal/dr"
	"understudy/internal/vault/blob"
)

// use makes a request with a grant, and returns what came of it.
func use(t *testing.T, g blob.Grant, method, body, ranges string) (status int, content string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, g.URL, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for key, values := range g.Header {
		r.Header[key] = values
	}
	if ranges != "" {
		r.Header.Set("Range", ranges)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// RunGrants tests a store that gives out grants, over plain HTTP without its credentials.
func RunGrants(t *testing.T, open func(t testing.TB) blob.Store) {
	s := open(t)
	g := s.(blob.Granter)
	put(t, s, "g/shop/p/1", "0123456789")
	put(t, s, "g/shop/p/2", "another")
	read, err := g.GrantRead(t.Context(), "g/shop/p/1", time.Hour)
	if err != nil || read.Method != http.MethodGet || time.Until(read.Expires) > time.Hour || time.Until(read.Expires) < time.Hour-time.Minute {
		t.Fatalf("%+v, %v", read, err)
	}
	t.Run("read", func(t *testing.T) {
		if status, body := use(t, read, http.MethodGet, "", ""); status != http.StatusOK || body != "0123456789" {
			t.Errorf("%d %q", status, body)
		}
		if status, body := use(t, read, http.MethodGet, "", "bytes=3-5"); status != http.StatusPartialContent || body != "345" {
			t.Errorf("a range: %d %q", status, body)
		}
	})
	t.Run("nothing else", func(t *testing.T) {
		other := read
		other.URL = strings.NewReplacer("/p/1", "/p/2", "%2Fp%2F1", "%2Fp%2F2").Replace(read.URL)
		if status, _ := use(t, other, http.MethodGet, "", ""); status != http.StatusForbidden {
			t.Errorf("another object: %d", status)
		}
		for _, method := range []string{http.MethodPut, http.MethodDelete} {
			if status, _ := use(t, read, method, "x", ""); status < 400 {
				t.Errorf("%s: %d", method, status)
			}
		}
		if get(t, s, "g/shop/p/1") != "0123456789" {
			t.Error("it was changed")
		}
	})
	t.Run("create", func(t *testing.T) {
		create, err := g.GrantCreate(t.Context(), "g/shop/p/3", time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		content := string(bytes.Repeat([]byte("content "), 1<<17))
		if status, body := use(t, create, create.Method, content, ""); status/100 != 2 {
			t.Fatalf("%d %s", status, body)
		}
		if get(t, s, "g/shop/p/3") != content {
			t.Error("something else was stored")
		}
		if status, _ := use(t, create, create.Method, "other", ""); status < 400 {
			t.Errorf("once more: %d", status)
		}
		bare := create
		bare.Header = http.Header{"X-Ms-Blob-Type": create.Header["X-Ms-Blob-Type"]}
		if status, _ := use(t, bare, create.Method, "other", ""); status < 400 {
			t.Errorf("without the condition: %d", status)
		}
		if status, _ := use(t, create, http.MethodGet, "", ""); status < 400 {
			t.Errorf("read: %d", status)
		}
		if get(t, s, "g/shop/p/3") != content {
			t.Error("it was replaced")
		}
	})
	t.Run("ends", func(t *testing.T) {
		short, err := g.GrantRead(t.Context(), "g/shop/p/1", 2*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if status, body := use(t, short, http.MethodGet, "", ""); status != http.StatusOK {
			t.Fatalf("%d %s", status, body)
		}
		for began := time.Now(); ; time.Sleep(100 * time.Millisecond) {
			if status, _ := use(t, short, http.MethodGet, "", ""); status == http.StatusForbidden || status == http.StatusBadRequest {
				break
			}
			if time.Since(began) > 30*time.Second {
				t.Fatal("it does not end")
			}
		}
	})
	t.Run("names", func(t *testing.T) {
		if _, err := g.GrantRead(t.Context(), "../a", time.Hour); dr.KindOf(err) != dr.KindInvalid {
			t.Error(err)
		}
	})
}
