package console

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strings"
	"time"

	"understudy/internal/api/wire"
	"understudy/internal/dr"
)

//go:embed pages
var pages embed.FS

var templates = template.Must(template.New("").Funcs(template.FuncMap{
	"seconds": func(s *float64) string {
		if s == nil {
			return "nothing can be recovered"
		}
		return time.Duration(*s * float64(time.Second)).Round(time.Second).String()
	},
	"utc": func(t *time.Time) string {
		if t == nil {
			return "never"
		}
		return t.UTC().Format("2006-01-02 15:04:05 UTC")
	},
}).ParseFS(pages, "pages/*.html"))

func render(w http.ResponseWriter, name string, data any) {
	var b bytes.Buffer
	if err := templates.ExecuteTemplate(&b, name+".html", data); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(b.Bytes()) // the client is gone if this fails
}

// status shows how things are to whoever may ask the API: it asks with the credentials that the request came with.
func (s *server) status(w http.ResponseWriter, r *http.Request) {
	data := struct {
		Version                    string
		Built                      bool
		Ready                      bool
		NotReady                   string
		Denied                     bool
		Problem                    string
		Groups                     []wire.Status
		Critical, Warning, Unknown int // groups
		Waiting                    int // for a person
	}{Version: s.opts.Version}
	_, data.Built = s.files[index]
	var ready struct { // of the problem, when it is not ready
		Detail string `json:"detail"`
		Hint   string `json:"hint"`
	}
	code, err := s.ask(r, "/readyz", &ready)
	data.Ready = err == nil && code == http.StatusOK
	if !data.Ready {
		data.NotReady = strings.Join(slices.DeleteFunc([]string{ready.Detail, ready.Hint, fmt.Sprint(code)}, func(s string) bool { return s == "" }), ": ")
	}
	switch code, err := s.ask(r, "/v1/status", &data.Groups); {
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		data.Denied = true
	case err != nil:
		data.Problem = err.Error()
	case code != http.StatusOK:
		data.Problem = http.StatusText(code)
	}
	for _, g := range data.Groups {
		if g.Waiting != "" {
			data.Waiting++
		}
		switch g.Health {
		case string(dr.HealthCritical):
			data.Critical++
		case string(dr.HealthWarning):
			data.Warning++
		case string(dr.HealthUnknown):
			data.Unknown++
		}
	}
	render(w, "status", data)
}

// ask asks the API in this process, as the request's own caller.
func (s *server) ask(r *http.Request, path string, answer any) (status int, err error) {
	ask, err := http.NewRequestWithContext(r.Context(), http.MethodGet, path, nil)
	if err != nil {
		return 0, err
	}
	ask.RemoteAddr, ask.Host, ask.TLS = r.RemoteAddr, r.Host, r.TLS
	for _, name := range []string{"Authorization", "Cookie"} {
		ask.Header[name] = r.Header[name]
	}
	got := &answerWriter{header: http.Header{}, code: http.StatusOK}
	s.opts.API.ServeHTTP(got, ask)
	if got.code == http.StatusUnauthorized || got.code == http.StatusForbidden {
		return got.code, nil
	}
	if err := json.Unmarshal(got.body.Bytes(), answer); err != nil {
		return got.code, fmt.Errorf("read the answer of %s: %w", path, err)
	}
	return got.code, nil
}

// answerWriter keeps an answer.
type answerWriter struct {
	header http.Header
	code   int
	body   bytes.Buffer
}

func (a *answerWriter) Header() http.Header         { return a.header }
func (a *answerWriter) WriteHeader(code int)        { a.code = code }
func (a *answerWriter) Write(b []byte) (int, error) { return a.body.Write(b) }
