package pages

import (
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// maxPages is how much one Put Page takes, in bytes.
const maxPages = 4 << 20

// A wireError is an answer of the service that is no success.
type wireError struct {
	status int
	code   string
	text   string
}

func (e *wireError) Error() string { return e.code + ": " + e.text }

func fail(status int, code, format string, args ...any) error {
	return &wireError{status, code, fmt.Sprintf(format, args...)}
}

// ServeHTTP implements http.Handler for URLs that Grant returned.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, op, err := s.find(r)
	if err != nil {
		refuse(w, err)
		return
	}
	s.mu.Lock()
	s.calls[op]++
	s.mu.Unlock()
	var f *Failure
	if s.o.Before != nil {
		f = s.o.Before(Call{Method: r.Method, Disk: b.ID, Op: op})
	}
	if f != nil {
		select {
		case <-time.After(f.Slow):
		case <-r.Context().Done():
			return
		}
		if f.After && (f.Status != 0 || f.Drop) {
			_ = b.answer(discard{}, r, op) // the answer that is lost
		}
		if f.Drop {
			panic(http.ErrAbortHandler)
		}
		if f.Status != 0 {
			if f.Retry > 0 {
				w.Header().Set("Retry-After", strconv.Itoa(int(f.Retry.Seconds())))
			}
			refuse(w, fail(f.Status, f.Code, "as the fault says"))
			return
		}
	}
	if err := b.answer(w, r, op); err != nil {
		refuse(w, err)
	}
}

// discard is an answer that nobody gets.
type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteHeader(int)             {}

func refuse(w http.ResponseWriter, err error) {
	e, ok := err.(*wireError)
	if !ok {
		e = &wireError{http.StatusInternalServerError, "InternalError", err.Error()}
	}
	w.Header().Set("x-ms-error-code", e.code)
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(e.status)
	_ = xml.NewEncoder(w).Encode(struct {
		XMLName       xml.Name `xml:"Error"`
		Code, Message string
	}{Code: e.code, Message: e.text})
}

// find returns the disk of a request that is signed for it.
func (s *Service) find(r *http.Request) (*Blob, string, error) {
	op := operation(r)
	write := op == "page" || op == "page-from-url"
	b, err := s.signed(r.URL, write)
	return b, op, err
}

func operation(r *http.Request) string {
	switch comp := r.URL.Query().Get("comp"); {
	case comp == "pagelist" && (r.URL.Query().Has("prevsnapshot") || r.Header.Get("x-ms-previous-snapshot-url") != ""):
		return "diff"
	case comp == "page" && r.Header.Get("x-ms-copy-source") != "":
		return "page-from-url"
	case comp != "":
		return comp
	}
	return strings.ToLower(r.Method)
}

// signed returns the disk that a URL is signed for.
func (s *Service) signed(u *url.URL, write bool) (*Blob, error) {
	account, _, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	s.mu.Lock()
	b := s.disks[account]
	s.mu.Unlock()
	if b == nil {
		return nil, fail(http.StatusNotFound, "ResourceNotFound", "the disk does not exist")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	g, ok := b.grants[u.Query().Get("sig")]
	switch {
	case !ok || !g.expires.After(s.o.Now()):
		return nil, fail(http.StatusForbidden, "AuthenticationFailed", "the signature is not valid, or no longer: it was for the time until %s", u.Query().Get("se"))
	case write && !g.write:
		return nil, fail(http.StatusForbidden, "AuthorizationPermissionMismatch", "the signature does not allow to write")
	}
	return b, nil
}

func (b *Blob) answer(w http.ResponseWriter, r *http.Request, op string) error {
	h := w.Header()
	h.Set("x-ms-version", r.Header.Get("x-ms-version"))
	h.Set("x-ms-blob-type", "PageBlob")
	switch op {
	case "get", "head":
		return b.get(w, r)
	case "pagelist", "diff":
		return b.list(w, r, op)
	case "page":
		return b.put(w, r)
	case "page-from-url":
		return b.putFrom(w, r)
	}
	return fail(http.StatusBadRequest, "InvalidQueryParameterValue", "%s is not an operation on a disk", op)
}

// span reads a range header: bytes=FIRST-LAST.
func span(text string, size int64) (off, n int64, err error) {
	if text == "" {
		return 0, size, nil
	}
	first, last, ok := strings.Cut(strings.TrimPrefix(text, "bytes="), "-")
	from, err := strconv.ParseInt(first, 10, 64)
	to := size - 1
	if err == nil && last != "" {
		to, err = strconv.ParseInt(last, 10, 64)
	}
	if !ok || err != nil || from < 0 || to < from {
		return 0, 0, fail(http.StatusBadRequest, "InvalidHeaderValue", "range %q", text)
	}
	if from >= size {
		return 0, 0, fail(http.StatusRequestedRangeNotSatisfiable, "InvalidRange", "range %q of %d bytes", text, size)
	}
	return from, min(to+1, size) - from, nil
}

func rangeOf(r *http.Request) string {
	if v := r.Header.Get("x-ms-range"); v != "" {
		return v
	}
	return r.Header.Get("Range")
}

func (b *Blob) get(w http.ResponseWriter, r *http.Request) error {
	size := b.Size()
	off, n, err := span(rangeOf(r), size)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
	w.Header().Set("Accept-Ranges", "bytes")
	w.Header().Set("ETag", `"0x1"`)
	status := http.StatusOK
	if rangeOf(r) != "" {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", off, off+n-1, size))
		status = http.StatusPartialContent
	}
	w.WriteHeader(status)
	if r.Method == http.MethodHead {
		return nil
	}
	b.content.send(w, off, n)
	return nil
}

// send writes bytes of the content, until the caller goes away.
func (c *content) send(w io.Writer, off, n int64) {
	buf := make([]byte, min(n, 1<<20))
	for n > 0 {
		p := buf[:min(n, int64(len(buf)))]
		c.readAt(p, off)
		if _, err := w.Write(p); err != nil {
			return
		}
		off, n = off+int64(len(p)), n-int64(len(p))
	}
}

type wireRange struct{ Start, End int64 }

type pageList struct {
	XMLName    xml.Name    `xml:"PageList"`
	PageRange  []wireRange `xml:"PageRange"`
	ClearRange []wireRange `xml:"ClearRange"`
	NextMarker string      `xml:"NextMarker"`
}

// maxRanges is how many ranges one answer holds.
const maxRanges = 10000

func (b *Blob) list(w http.ResponseWriter, r *http.Request, op string) error {
	size := b.Size()
	off, n, err := span(rangeOf(r), size)
	if err != nil {
		return err
	}
	var found []Range
	if op == "diff" {
		u, err := url.Parse(r.Header.Get("x-ms-previous-snapshot-url"))
		if err != nil {
			return fail(http.StatusBadRequest, "InvalidHeaderValue", "x-ms-previous-snapshot-url")
		}
		older, err := b.svc.signed(u, false)
		if err != nil {
			return fail(http.StatusForbidden, "CannotVerifyCopySource", "the previous snapshot: %v", err)
		}
		if older.content.family != b.content.family {
			return fail(http.StatusConflict, "PreviousSnapshotNotFound", "the snapshots are not of one disk")
		}
		found = diff(older.content, b.content)
	} else {
		found = b.content.ranges(0, size)
	}
	w.Header().Set("ETag", `"0x1"`)
	return writeRanges(w, r.URL.Query(), found, size, off, n)
}

// writeRanges answers with the part of what was found that is in [off, off+n): a page of it.
func writeRanges(w http.ResponseWriter, q url.Values, found []Range, size, off, n int64) (err error) {
	limit := maxRanges
	if v := q.Get("maxresults"); v != "" {
		if limit, err = strconv.Atoi(v); err != nil || limit < 1 {
			return fail(http.StatusBadRequest, "OutOfRangeQueryParameterValue", "maxresults %q", v)
		}
	}
	if v := q.Get("marker"); v != "" {
		from, err := strconv.ParseInt(v, 10, 64)
		if err != nil {
			return fail(http.StatusBadRequest, "InvalidQueryParameterValue", "marker %q", v)
		}
		n, off = off+n-from, from
	}
	list := pageList{}
	count := 0
	for _, f := range found {
		// A page is listed as a whole.
		from, to := max(f.Offset, off/PageSize*PageSize), min(f.End(), (off+n+PageSize-1)/PageSize*PageSize)
		if from >= to {
			continue
		}
		if count == limit {
			list.NextMarker = strconv.FormatInt(from, 10)
			break
		}
		count++
		one := wireRange{from, to - 1}
		if f.Clear {
			list.ClearRange = append(list.ClearRange, one)
		} else {
			list.PageRange = append(list.PageRange, one)
		}
	}
	w.Header().Set("x-ms-blob-content-length", strconv.FormatInt(size, 10))
	w.Header().Set("Content-Type", "application/xml")
	return xml.NewEncoder(w).Encode(list)
}

// pagesOf reads the range of a Put Page.
func pagesOf(r *http.Request, size int64) (off, n int64, err error) {
	off, n, err = span(rangeOf(r), size)
	switch {
	case err != nil:
	case rangeOf(r) == "" || off%PageSize != 0 || n%PageSize != 0:
		err = fail(http.StatusBadRequest, "InvalidHeaderValue", "range %q is not of whole pages", rangeOf(r))
	}
	return off, n, err
}

// readSpan reads what a range header names; want is how many bytes that must be, or negative.
func readSpan(c *content, text string, want int64) ([]byte, error) {
	c.mu.RLock()
	size := c.size
	c.mu.RUnlock()
	off, n, err := span(text, size)
	if err != nil {
		return nil, err
	}
	if want >= 0 && n != want {
		return nil, fail(http.StatusBadRequest, "InvalidHeaderValue", "the ranges of source and target are of %d and %d bytes", n, want)
	}
	data := make([]byte, n)
	c.readAt(data, off)
	return data, nil
}

func (b *Blob) put(w http.ResponseWriter, r *http.Request) error {
	off, n, err := pagesOf(r, b.Size())
	if err != nil {
		return err
	}
	switch r.Header.Get("x-ms-page-write") {
	case "clear":
		b.content.clear(off, n)
	case "update":
		if n > maxPages {
			return fail(http.StatusRequestEntityTooLarge, "RequestBodyTooLarge", "%d bytes are more than %d", n, maxPages)
		}
		data := make([]byte, n)
		if _, err := io.ReadFull(r.Body, data); err != nil {
			return fail(http.StatusBadRequest, "InvalidInput", "the body is shorter than the range: %v", err)
		}
		b.content.writeAt(data, off)
	default:
		return fail(http.StatusBadRequest, "InvalidHeaderValue", "x-ms-page-write")
	}
	created(w)
	return nil
}

func (b *Blob) putFrom(w http.ResponseWriter, r *http.Request) error {
	off, n, err := pagesOf(r, b.Size())
	if err != nil {
		return err
	}
	u, err := url.Parse(r.Header.Get("x-ms-copy-source"))
	if err != nil {
		return fail(http.StatusBadRequest, "InvalidHeaderValue", "x-ms-copy-source")
	}
	from, err := b.svc.signed(u, false)
	if err != nil {
		return fail(http.StatusForbidden, "CannotVerifyCopySource", "the source: %v", err)
	}
	if n > maxPages {
		return fail(http.StatusRequestEntityTooLarge, "RequestBodyTooLarge", "%d bytes are more than %d", n, maxPages)
	}
	data, err := readSpan(from.content, r.Header.Get("x-ms-source-range"), n)
	if err != nil {
		return err
	}
	b.content.writeAt(data, off)
	created(w)
	return nil
}

func created(w http.ResponseWriter) {
	w.Header().Set("ETag", `"0x1"`)
	w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
	w.Header().Set("x-ms-blob-sequence-number", "0")
	w.WriteHeader(http.StatusCreated)
}
