package pages

import (
	"net/http"
	"strconv"
)

// maxBlob is how large a page blob may be, in bytes.
const maxBlob = 8 << 40

// blobSize reads the size of a page blob.
func blobSize(text string) (int64, error) {
	size, err := strconv.ParseInt(text, 10, 64)
	if err != nil || size < 0 || size%PageSize != 0 || size > maxBlob {
		return 0, fail(http.StatusBadRequest, "InvalidHeaderValue", "x-ms-blob-content-length %q", text)
	}
	return size, nil
}

// newPages gives a page blob that is created its size.
func (c *call) newPages(st *state) error {
	size, err := blobSize(c.r.Header.Get("x-ms-blob-content-length"))
	if err != nil {
		return err
	}
	if v := c.r.Header.Get("x-ms-blob-sequence-number"); v != "" {
		if err := st.count("update", v); err != nil {
			return err
		}
	}
	if st.tier != "" && !c.a.premium {
		return fail(http.StatusBadRequest, "InvalidHeaderValue", "x-ms-access-tier")
	}
	st.content = newContent(size)
	return nil
}

// count changes the sequence number.
func (st *state) count(action, text string) error {
	n, err := strconv.ParseInt(text, 10, 64)
	bad := err != nil || n < 0
	switch {
	case action == "increment":
		n = st.sequence + 1
		// The service refuses a number beside it, and the official client sends one.
	case bad:
		return fail(http.StatusBadRequest, "InvalidHeaderValue", "x-ms-blob-sequence-number %q", text)
	case action == "max":
		n = max(n, st.sequence)
	case action != "update":
		return fail(http.StatusBadRequest, "InvalidHeaderValue", "x-ms-sequence-number-action %q", action)
	}
	st.sequence = n
	return nil
}

// putPage answers Put Page, Put Page From URL and Clear Pages.
func (c *call) putPage(st *state) error {
	if st.kind != kindPage {
		return fail(http.StatusConflict, "InvalidBlobType", "The blob type is invalid for this operation.")
	}
	if err := c.sequence(st); err != nil {
		return err
	}
	off, n, err := pagesOf(c.r, st.content.size)
	if err != nil {
		return err
	}
	switch from := c.r.Header.Get("x-ms-copy-source"); {
	case c.r.Header.Get("x-ms-page-write") == "clear":
		st.content.clear(off, n)
	case c.r.Header.Get("x-ms-page-write") != "update":
		return fail(http.StatusBadRequest, "InvalidHeaderValue", "x-ms-page-write")
	case n > maxPages:
		return fail(http.StatusRequestEntityTooLarge, "RequestBodyTooLarge", "%d bytes are more than %d", n, maxPages)
	case from != "":
		other, _, err := c.source(from)
		if err != nil {
			return err
		}
		if err := c.conditions(other, "x-ms-source-"); err != nil {
			return err
		}
		data, err := readSpan(other.content, c.r.Header.Get("x-ms-source-range"), n)
		if err == nil {
			err = c.checked(data, "x-ms-source-content-md5", "x-ms-source-content-crc64")
		}
		if err != nil {
			return err
		}
		st.content.writeAt(data, off)
	case int64(len(c.body)) != n:
		return fail(http.StatusBadRequest, "InvalidHeaderValue", "the range is of %d bytes, and the body of %d", n, len(c.body))
	default:
		if err := c.checked(c.body, "Content-MD5", "x-ms-content-crc64"); err != nil {
			return err
		}
		st.content.writeAt(c.body, off)
	}
	return c.changed(st, http.StatusCreated)
}

// pageRanges answers Get Page Ranges, of all that is there or of what differs from an earlier snapshot.
func (c *call) pageRanges(e *entry, st *state) error {
	if st.kind != kindPage {
		return fail(http.StatusConflict, "InvalidBlobType", "The blob type is invalid for this operation.")
	}
	size := st.content.size
	// A range that cannot be read is no range.
	off, n, err := span(rangeOf(c.r), size)
	if err, ok := err.(*wireError); ok {
		if err.status == http.StatusRequestedRangeNotSatisfiable {
			return err
		}
		off, n = 0, size
	}
	found := func() []Range { return st.content.ranges(0, size) }
	if older := c.r.Header.Get("x-ms-previous-snapshot-url"); older != "" || c.q.Has("prevsnapshot") {
		old := e.snapshots[c.q.Get("prevsnapshot")]
		if older != "" {
			if old, _, err = c.source(older); err != nil {
				return err
			}
		}
		if old == nil || old.content.family != st.content.family {
			return fail(http.StatusConflict, "PreviousSnapshotNotFound", "The previous snapshot is not found.")
		}
		if old.content.writes > st.content.writes {
			return fail(http.StatusBadRequest, "PreviousSnapshotCannotBeNewer", "The prevsnapshot query parameter value cannot be newer than snapshot query parameter value.")
		}
		found = func() []Range { return diff(old.content, st.content) }
	}
	c.w.Header().Set("ETag", st.etag)
	c.w.Header().Set("Last-Modified", st.modified.UTC().Format(http.TimeFormat))
	return writeRanges(c.w, c.q, found(), size, off, n)
}
