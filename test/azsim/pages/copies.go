package pages

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// copying is a copy from another blob, which goes on after the request for it was answered.
type copying struct {
	id, source  string
	status      string // pending, success, aborted, failed
	description string
	began, done time.Time
	total       int64
	from        *content // taken when the copy began
	check       func() error
	land        func() // the copy is complete
	snapshot    string // that an incremental copy left
	newest      string // snapshot of the source that it is of
}

// settle brings a copy to where it is by now.
func (c *call) settle(st *state) {
	if st == nil || st.copy == nil || st.copy.status != "pending" {
		return
	}
	p := st.copy
	ends := p.began.Add(c.s.o.CopyTime)
	if !c.now.Before(ends) {
		p.status, p.done = "success", ends
		st.content = p.from
		if p.land != nil {
			p.land()
		}
		return
	}
	// The source is read until the end: a grant that expires before it ends the copy.
	if err := p.check(); err != nil {
		p.status, p.done, p.description = "failed", c.now, fmt.Sprintf("403 %v \"Copy failed when reading the source.\"", err)
	}
}

func (p *copying) progress(now time.Time, takes time.Duration) int64 {
	switch {
	case p.status == "success":
		return p.total
	case takes <= 0:
		return 0
	case p.status != "pending":
		now = p.done
	}
	return min(p.total, int64(float64(p.total)*now.Sub(p.began).Seconds()/takes.Seconds()))
}

func (c *call) showCopy(st *state) {
	p := st.copy
	if p == nil {
		return
	}
	h := c.w.Header()
	h.Set("x-ms-copy-id", p.id)
	h.Set("x-ms-copy-source", p.source)
	h.Set("x-ms-copy-status", p.status)
	h.Set("x-ms-copy-progress", strconv.FormatInt(p.progress(c.now, c.s.o.CopyTime), 10)+"/"+strconv.FormatInt(p.total, 10))
	if p.description != "" {
		h.Set("x-ms-copy-status-description", p.description)
	}
	if !p.done.IsZero() {
		h.Set("x-ms-copy-completion-time", p.done.UTC().Format(http.TimeFormat))
	}
	if p.newest != "" {
		h.Set("x-ms-incremental-copy", "true")
	}
	if p.snapshot != "" {
		h.Set("x-ms-copy-destination-snapshot", p.snapshot)
	}
}

// copyFrom answers Copy Blob, Copy Blob From URL and Put Blob From URL.
func (c *call) copyFrom(in *container, e *entry, kind string) error {
	old, err := c.writable(e)
	if err != nil {
		return err
	}
	text := c.r.Header.Get("x-ms-copy-source")
	from, check, err := c.source(text)
	if err != nil {
		return err
	}
	if err := c.conditions(from, "x-ms-source-"); err != nil {
		return err
	}
	content := from.content.snapshot()
	content.family = new(int)
	st := c.fresh(from.kind, content, old)
	st.sequence = from.sequence
	if len(headersOf(c.r)) == 0 && len(from.headers) > 0 {
		st.headers = maps.Clone(from.headers)
	}
	if len(st.meta) == 0 {
		st.meta = maps.Clone(from.meta)
	}
	if c.r.Header.Get("x-ms-copy-source-tag-option") == "COPY" {
		st.tags = maps.Clone(from.tags)
	}
	if c.r.Header.Get("x-ms-copy-source-blob-properties") == "false" {
		st.headers = map[string]string{"Content-Type": "application/octet-stream"}
		maps.Copy(st.headers, headersOf(c.r))
	}
	p := &copying{id: unique(), source: text, status: "pending", began: c.now, total: from.content.size, from: content, check: check}
	switch {
	case kind != "", c.r.Header.Get("x-ms-requires-sync") == "true":
		data, err := readSpan(content, "", -1)
		if err == nil {
			err = c.checked(data, "x-ms-source-content-md5", "x-ms-source-content-crc64")
		}
		if err != nil {
			return err
		}
		if from.kind != kindBlock {
			return fail(http.StatusConflict, "InvalidBlobType", "The blob type is invalid for this operation.")
		}
		p.status, p.done = "success", c.now
		st.headers["Content-MD5"] = md5Of(data)
		c.w.Header().Set("Content-MD5", st.headers["Content-MD5"])
	case c.s.o.CopyTime <= 0:
		p.status, p.done = "success", c.now
	default:
		st.content = newContent(p.total)
	}
	c.place(in, e, st)
	if kind == "" {
		st.copy = p
		c.w.Header().Set("x-ms-copy-id", p.id)
		c.w.Header().Set("x-ms-copy-status", p.status)
	}
	if err := c.keyed(st, false); err != nil {
		return err
	}
	if kind != "" {
		return c.changed(st, http.StatusCreated)
	}
	return c.changed(st, http.StatusAccepted)
}

// copyIncremental answers Incremental Copy Blob: the target gets a snapshot of each snapshot of the source.
func (c *call) copyIncremental(in *container, e *entry) error {
	old, err := c.writable(e)
	if err != nil {
		return err
	}
	text := c.r.Header.Get("x-ms-copy-source")
	from, check, err := c.source(text)
	if err != nil {
		return err
	}
	newest := snapshotIn(text)
	switch {
	case from.kind != kindPage || newest == "":
		return fail(http.StatusConflict, "CopyAcrossAccountsNotSupported", "the source is no snapshot of a page blob")
	case old != nil && (old.copy == nil || old.copy.newest == ""):
		return fail(http.StatusConflict, "OperationNotAllowedOnIncrementalCopyBlob", "the target is no incremental copy")
	case old != nil && old.copy.newest == newest:
		return fail(http.StatusConflict, "IncrementalCopySourceAlreadyCopied", "the snapshot was copied already")
	case old != nil && old.copy.newest > newest:
		return fail(http.StatusConflict, "IncrementalCopyOfEarlierSnapshotNotAllowed", "The specified snapshot is earlier than the last snapshot copied into the incremental copy blob.")
	}
	st := c.fresh(kindPage, newContent(from.content.size), old)
	if old != nil {
		st.content = old.content
	}
	content := from.content.snapshot()
	content.family = st.content.family
	c.place(in, e, st)
	at, now := in.blobs[c.blobName], c.now
	st.copy = &copying{id: unique(), source: text, status: "pending", began: now, total: from.content.size, from: content, check: check, newest: newest}
	st.copy.land = func() {
		copied := *st
		copied.content, copied.lease = st.content.snapshot(), lease{}
		st.copy.snapshot = st.copy.done.UTC().Format(snapshotFormat)
		at.snapshots[st.copy.snapshot] = &copied
	}
	c.w.Header().Set("x-ms-copy-id", st.copy.id)
	c.w.Header().Set("x-ms-copy-status", st.copy.status)
	return c.changed(st, http.StatusAccepted)
}

func (c *call) abort(st *state) error {
	switch p := st.copy; {
	case c.r.Header.Get("x-ms-copy-action") != "abort":
		return fail(http.StatusBadRequest, "InvalidHeaderValue", "x-ms-copy-action")
	case p == nil || p.status != "pending" || p.newest != "":
		return fail(http.StatusConflict, "NoPendingCopyOperation", "There is currently no pending copy operation.")
	case p.id != c.q.Get("copyid"):
		return fail(http.StatusConflict, "CopyIdMismatch", "The specified copy ID did not match the copy ID for the pending copy operation.")
	default:
		p.status, p.done = "aborted", c.now
	}
	st.content = newContent(0)
	st.etag, st.modified = newETag(), c.now
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// snapshotIn is the snapshot that a URL names.
func snapshotIn(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return u.Query().Get("snapshot")
}
