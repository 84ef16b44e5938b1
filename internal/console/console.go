// Package console serves the web console beside the API: its files, with the headers that keep a browser from doing anything
// else, and a page at /status that needs neither script nor a built console.
package console

import (
	"io/fs"
	"net/http"
	"path"
	"slices"
	"strings"
)

// Options say what is served.
type Options struct {
	API     http.Handler // answers what is not the console's
	Files   fs.FS        // the built console; without an index.html in it, / says how to build one
	Version string
}

// policy lets a page load from here only. Styles may be inline, since the component library sets them; scripts may not.
const policy = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; object-src 'none'; " +
	"base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

// apiPaths begin what the API answers.
var apiPaths = []string{"/v1/", "/openapi", "/livez", "/readyz", "/metrics"}

type server struct {
	opts  Options
	files map[string]file
}

// New returns a handler of the console and the API.
func New(o Options) (http.Handler, error) {
	files, err := load(o.Files)
	return &server{opts: o, files: files}, err
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Security-Policy", policy)
	if slices.ContainsFunc(apiPaths, func(p string) bool { return strings.HasPrefix(r.URL.Path, p) }) ||
		r.Method != http.MethodGet && r.Method != http.MethodHead {
		s.opts.API.ServeHTTP(w, r)
		return
	}
	name := strings.TrimPrefix(path.Clean(r.URL.Path), "/")
	switch f, ok := s.files[name]; {
	case name == "status":
		s.status(w, r)
	case ok && name != index:
		f.serve(w, r)
	case path.Ext(name) != "" && !wantsPage(r):
		http.NotFound(w, r)
	case !wantsPage(r):
		s.opts.API.ServeHTTP(w, r) // says what is wrong as a problem
	default:
		s.page(w, r)
	}
}

// wantsPage tells a browser that goes somewhere from a program that asks for data.
func wantsPage(r *http.Request) bool { return strings.Contains(r.Header.Get("Accept"), "text/html") }

// page is the console's only page: its script finds out by the path what to show.
func (s *server) page(w http.ResponseWriter, r *http.Request) {
	if f, ok := s.files[index]; ok {
		f.serve(w, r)
		return
	}
	render(w, "unbuilt", nil)
}
