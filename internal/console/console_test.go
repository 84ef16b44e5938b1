package console

import (
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"
)

// answers is an API that knows one token.
var answers = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/readyz":
		_, _ = io.WriteString(w, `{"status":"ok"}`)
	case r.Header.Get("Authorization") != "Bearer right" && r.Header.Get("Cookie") != "understudy_session=right":
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"detail":"this needs a token"}`)
	case r.URL.Path == "/v1/status":
		_, _ = io.WriteString(w, `[{"group":"shop","site":"east","target":"west","state":"protected","replication":"idle","rpoSeconds":5,"rpoMet":true,"loseSeconds":4,"health":"healthy"},
			{"group":"<b>","site":"east","state":"protected","replication":"idle","rpoSeconds":5,"error":"no space","hint":"understudy vault stats",
			 "health":"critical","healthReason":"nothing can be recovered"},
			{"group":"late","site":"east","state":"protected","replication":"idle","rpoSeconds":5,"rpoMet":true,"health":"unknown","healthReason":"not heard of"}]`)
	default:
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"detail":"no such path"}`)
	}
})

var built = fstest.MapFS{
	"index.html":          {Data: []byte("<!doctype html><title>Understudy</title>")},
	"assets/index-abc.js": {Data: []byte(strings.Repeat("console ", 1000))},
	".vite/manifest.json": {Data: []byte("{}")},
	".keep":               {},
}

func get(t *testing.T, files fs.FS, path string, header ...string) (*http.Response, string) {
	t.Helper()
	h, err := New(Options{API: answers, Files: files, Version: "1.2"})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodGet, path, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	resp := w.Result()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

func TestServes(t *testing.T) {
	for _, tt := range []struct {
		name, path string
		files      fs.FS
		header     []string
		status     int
		want       string // in the body
		cache      string
	}{
		{"page", "/", built, []string{"Accept", "text/html"}, 200, "<title>Understudy", "no-cache"},
		{"every page is the same file", "/groups/shop.db", built, []string{"Accept", "text/html,*/*"}, 200, "<title>Understudy", "no-cache"},
		{"hashed file", "/assets/index-abc.js", built, nil, 200, "console", "public, max-age=31536000, immutable"},
		{"file that is not there", "/assets/index-old.js", built, nil, 404, "", ""},
		{"builder's notes", "/.vite/manifest.json", built, nil, 404, "", ""},
		{"API", "/v1/status", built, []string{"Authorization", "Bearer right"}, 200, `"group":"shop"`, ""},
		{"API denies", "/v1/status", built, nil, 401, "needs a token", ""},
		{"program asks for what is not there", "/groupz", built, []string{"Authorization", "Bearer right"}, 404, "no such path", ""},
		{"not built", "/", fstest.MapFS{".keep": {}}, []string{"Accept", "text/html"}, 200, "make build", "no-store"},
		{"status without a session", "/status", built, nil, 200, "Sign in", "no-store"},
		{"status", "/status", built, []string{"Cookie", "understudy_session=right"}, 200, "✗ 1 critical</span>, <span class=\"bad\">? 1 unknown", "no-store"},
		{"status of a ready controller", "/status", built, nil, 200, "✓ ready", "no-store"},
		{"status tells why", "/status", built, []string{"Authorization", "Bearer right"}, 200, "critical: nothing can be recovered", "no-store"},
		{"status, not built", "/status", fstest.MapFS{}, []string{"Authorization", "Bearer right"}, 200, "4s", "no-store"},
		{"status escapes", "/status", built, []string{"Authorization", "Bearer right"}, 200, "&lt;b&gt;", "no-store"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			resp, body := get(t, tt.files, tt.path, tt.header...)
			if resp.StatusCode != tt.status || !strings.Contains(body, tt.want) || resp.Header.Get("Cache-Control") != tt.cache {
				t.Errorf("%s: %d, cached %q, want %d, %q\n%s", tt.path, resp.StatusCode, resp.Header.Get("Cache-Control"), tt.status, tt.cache, body)
			}
			csp := resp.Header.Get("Content-Security-Policy")
			if !strings.Contains(csp, "default-src 'self'") || !strings.Contains(csp, "frame-ancestors 'none'") || strings.Contains(csp, "script-src") ||
				resp.Header.Get("X-Content-Type-Options") != "nosniff" || resp.Header.Get("Referrer-Policy") == "" {
				t.Errorf("%s: headers %v", tt.path, resp.Header)
			}
		})
	}
}

func TestStatusOfControllerThatIsNotReady(t *testing.T) {
	api := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, `{"status":503,"detail":"disk gone","hint":"mount it"}`)
	})
	h, err := New(Options{API: api, Files: built, Version: "1.2"})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/status", nil))
	if body := w.Body.String(); !strings.Contains(body, "✗ not ready</span> disk gone: mount it: 503") {
		t.Error(body)
	}
}

func TestCompresses(t *testing.T) {
	resp, body := get(t, built, "/assets/index-abc.js", "Accept-Encoding", "gzip")
	if resp.Header.Get("Content-Encoding") != "gzip" || len(body) > 1000 {
		t.Errorf("%d bytes, encoding %q", len(body), resp.Header.Get("Content-Encoding"))
	}
}
