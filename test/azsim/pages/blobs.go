package pages

import (
	"crypto/md5"
	"encoding/base64"
	"encoding/binary"
	"hash/crc64"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Kinds of blobs.
const (
	kindPage   = "PageBlob"
	kindBlock  = "BlockBlob"
	kindAppend = "AppendBlob"
)

// snapshotFormat names snapshots by their time.
const snapshotFormat = "2006-01-02T15:04:05.0000000Z"

// crcTable is of the polynomial that the service uses.
var crcTable = crc64.MakeTable(0x9A6C9329AC4BC9B5)

func crcOf(p []byte) string {
	return base64.StdEncoding.EncodeToString(binary.LittleEndian.AppendUint64(nil, crc64.Checksum(p, crcTable)))
}

func md5Of(p []byte) string {
	sum := md5.Sum(p)
	return base64.StdEncoding.EncodeToString(sum[:])
}

// checked compares digests that a request states, by the prefix of their headers' names, and answers with what was found.
func (c *call) checked(p []byte, md5Header, crcHeader string) error {
	if v := c.r.Header.Get(md5Header); v != "" {
		if v != md5Of(p) {
			return fail(http.StatusBadRequest, "Md5Mismatch", "The MD5 value specified in the request did not match with the MD5 value calculated by the server.")
		}
		c.w.Header().Set("Content-MD5", v)
		return nil
	}
	if v := c.r.Header.Get(crcHeader); v != "" && v != crcOf(p) {
		return fail(http.StatusBadRequest, "Crc64Mismatch", "The CRC64 value specified in the request did not match with the CRC64 value calculated by the server.")
	}
	c.w.Header().Set("x-ms-content-crc64", crcOf(p))
	return nil
}

// blob answers what is asked of a blob.
func (c *call) blob() error {
	in := c.a.containers[c.containerName]
	if in == nil {
		return fail(http.StatusNotFound, "ContainerNotFound", "the container %s does not exist", c.containerName)
	}
	e := in.blobs[c.blobName]
	switch c.op() {
	case "PUT":
		return c.create(in, e)
	case "PUT incrementalcopy":
		return c.copyIncremental(in, e)
	case "PUT block":
		return c.stage(in, e)
	case "PUT blocklist":
		return c.commit(in, e)
	}
	st, err := c.find(e)
	if err != nil {
		return err
	}
	c.settle(st)
	if c.op() == "GET blocklist" {
		return c.listBlocks(e, st)
	}
	if st == nil {
		return fail(http.StatusNotFound, "BlobNotFound", "the blob %s does not exist", c.blobName)
	}
	if c.op() != "PUT lease" && c.op() != "PUT copy" {
		if err := c.conditions(st, ""); err != nil {
			return err
		}
	}
	switch c.op() {
	case "GET", "HEAD":
		return c.get(st)
	case "GET pagelist":
		return c.pageRanges(e, st)
	case "GET metadata", "HEAD metadata":
		showMeta(c.w.Header(), st.meta)
		return c.shown(st, http.StatusOK)
	case "GET tags":
		return writeXML(c.w, http.StatusOK, struct {
			XMLName struct{} `xml:"Tags"`
			*wireTags
		}{wireTags: tagsOf(st.tags)})
	case "PUT lease":
		return c.leaseOf(&st.lease)
	case "DELETE":
		return c.delete(in, e, st)
	case "PUT tier":
		return c.setTier(st)
	case "PUT copy":
		return c.abort(st)
	}
	if c.q.Has("snapshot") && c.op() != "PUT tags" {
		return fail(http.StatusBadRequest, "InvalidQueryParameterValue", "a snapshot cannot be changed")
	}
	// From here on what is there changes.
	if st.copy != nil && st.copy.status == "pending" {
		return fail(http.StatusConflict, "PendingCopyOperation", "There is currently a pending copy operation.")
	}
	if c.op() != "PUT snapshot" || c.r.Header.Get("x-ms-lease-id") != "" {
		if err := st.lease.allows(c.r, c.now, "Blob"); err != nil {
			return err
		}
	}
	if c.op() != "PUT tags" {
		if err := c.keyed(st, true); err != nil {
			return err
		}
		if c.r.Header.Get("x-ms-encryption-scope") != st.scope {
			return customer()
		}
	}
	switch c.op() {
	case "PUT tags":
		var in wireTags
		if err := readXML(c.body, &in); err != nil {
			return err
		}
		st.tags = in.toMap()
		c.w.WriteHeader(http.StatusNoContent)
		return nil
	case "PUT metadata":
		st.meta = metaOf(c.r)
		return c.changed(st, http.StatusOK)
	case "PUT properties":
		return c.setProperties(st)
	case "PUT snapshot":
		return c.snapshot(e, st)
	case "PUT page":
		return c.putPage(st)
	}
	return unknown(c)
}

// find returns what a request names: the blob, or a snapshot of it. Nil when it is not there.
func (c *call) find(e *entry) (*state, error) {
	if e == nil {
		return nil, nil
	}
	if at := c.q.Get("snapshot"); at != "" {
		return e.snapshots[at], nil
	}
	return e.base, nil
}

// keyed checks the customer's key, and shows what a blob is encrypted with.
func (c *call) keyed(st *state, strict bool) error {
	if strict && c.r.Header.Get("x-ms-encryption-key-sha256") != st.key {
		return customer()
	}
	if st.key != "" {
		c.w.Header().Set("x-ms-encryption-key-sha256", st.key)
	}
	if st.scope != "" {
		c.w.Header().Set("x-ms-encryption-scope", st.scope)
	}
	return nil
}

func customer() error {
	return fail(http.StatusConflict, "BlobUsesCustomerSpecifiedEncryption", "The blob is encrypted with customer specified encryption, but it was not provided in the request.")
}

// changed gives a blob its new version's marks and answers.
func (c *call) changed(st *state, status int) error {
	st.etag, st.modified = newETag(), c.now
	c.w.Header().Set("x-ms-request-server-encrypted", "true")
	return c.shown(st, status)
}

func (c *call) shown(st *state, status int) error {
	h := c.w.Header()
	h.Set("ETag", st.etag)
	h.Set("Last-Modified", st.modified.UTC().Format(http.TimeFormat))
	if st.kind == kindPage {
		h.Set("x-ms-blob-sequence-number", strconv.FormatInt(st.sequence, 10))
	}
	c.w.WriteHeader(status)
	return nil
}

// kept are headers of a blob that are given back as they were, by the name that they are set with.
var kept = map[string]string{"x-ms-blob-content-type": "Content-Type", "x-ms-blob-content-encoding": "Content-Encoding", "x-ms-blob-content-language": "Content-Language",
	"x-ms-blob-cache-control": "Cache-Control", "x-ms-blob-content-disposition": "Content-Disposition", "x-ms-blob-content-md5": "Content-MD5"}

func headersOf(r *http.Request) map[string]string {
	out := map[string]string{}
	for from, to := range kept {
		if v := r.Header.Get(from); v != "" {
			out[to] = v
		}
	}
	return out
}

// fresh is a new blob of a request's headers. What it takes the place of may be nil.
func (c *call) fresh(kind string, content *content, old *state) *state {
	st := &state{kind: kind, content: content, headers: headersOf(c.r), meta: metaOf(c.r), tags: parseTags(c.r.Header.Get("x-ms-tags")), created: c.now,
		tier: c.r.Header.Get("x-ms-access-tier"), key: c.r.Header.Get("x-ms-encryption-key-sha256"), scope: c.r.Header.Get("x-ms-encryption-scope")}
	if st.headers["Content-Type"] == "" {
		st.headers["Content-Type"] = "application/octet-stream"
	}
	if old != nil {
		st.created, st.lease = old.created, old.lease
	}
	return st
}

// writable checks that a blob may take the place of what is there, and returns that.
func (c *call) writable(e *entry) (*state, error) {
	if e == nil || e.base == nil {
		return nil, c.conditions(nil, "")
	}
	c.settle(e.base)
	if e.base.copy != nil && e.base.copy.status == "pending" {
		return nil, fail(http.StatusConflict, "PendingCopyOperation", "There is currently a pending copy operation.")
	}
	if err := c.conditions(e.base, ""); err != nil {
		return nil, err
	}
	if !c.who.may("w") {
		return nil, fail(http.StatusForbidden, "UnauthorizedBlobOverwrite", "The signature allows to create, not to overwrite.")
	}
	return e.base, e.base.lease.allows(c.r, c.now, "Blob")
}

// place puts a blob under its name.
func (c *call) place(in *container, e *entry, st *state) {
	if e == nil {
		e = &entry{name: c.blobName, snapshots: map[string]*state{}}
		in.blobs[c.blobName] = e
	}
	e.base, e.staged = st, nil
}

// create answers Put Blob, Put Blob From URL and Copy Blob.
func (c *call) create(in *container, e *entry) error {
	kind := c.r.Header.Get("x-ms-blob-type")
	if c.r.Header.Get("x-ms-copy-source") != "" {
		return c.copyFrom(in, e, kind)
	}
	old, err := c.writable(e)
	if err != nil {
		return err
	}
	st := c.fresh(kind, newContent(0), old)
	switch kind {
	case kindPage:
		if err := c.newPages(st); err != nil {
			return err
		}
	case kindBlock:
		if err := c.checked(c.body, "Content-MD5", "x-ms-content-crc64"); err != nil {
			return err
		}
		st.content.size = int64(len(c.body))
		st.content.writeAt(c.body, 0)
		st.headers["Content-MD5"] = md5Of(c.body)
		c.w.Header().Set("Content-MD5", st.headers["Content-MD5"])
	case kindAppend:
	default:
		return fail(http.StatusBadRequest, "InvalidHeaderValue", "x-ms-blob-type %q", kind)
	}
	c.place(in, e, st)
	if err := c.keyed(st, false); err != nil {
		return err
	}
	return c.changed(st, http.StatusCreated)
}

// get answers Get Blob and Get Blob Properties.
func (c *call) get(st *state) error {
	h, size := c.w.Header(), st.content.size
	if err := c.keyed(st, true); err != nil {
		return err
	}
	off, n, err := span(rangeOf(c.r), size)
	switch {
	case rangeOf(c.r) == "" || size == 0 && rangeOf(c.r) == "bytes=0-":
		off, n = 0, size
	case err != nil:
		return err
	}
	for name, v := range st.headers {
		h.Set(name, v)
	}
	showMeta(h, st.meta)
	st.lease.show(h, c.now)
	c.showCopy(st)
	h.Set("x-ms-blob-type", st.kind)
	h.Set("x-ms-creation-time", st.created.UTC().Format(http.TimeFormat))
	h.Set("x-ms-server-encrypted", "true")
	h.Set("Accept-Ranges", "bytes")
	h.Set("Content-Length", strconv.FormatInt(n, 10))
	if len(st.tags) > 0 {
		h.Set("x-ms-tag-count", strconv.Itoa(len(st.tags)))
	}
	if tier, inferred := c.tierOf(st); tier != "" {
		h.Set("x-ms-access-tier", tier)
		if inferred {
			h.Set("x-ms-access-tier-inferred", "true")
		}
	}
	status := http.StatusOK
	if rangeOf(c.r) != "" && c.r.Method == http.MethodGet {
		h.Set("Content-Range", "bytes "+strconv.FormatInt(off, 10)+"-"+strconv.FormatInt(off+n-1, 10)+"/"+strconv.FormatInt(size, 10))
		status = http.StatusPartialContent
		if v := h.Get("Content-MD5"); v != "" {
			h.Set("x-ms-blob-content-md5", v)
			h.Del("Content-MD5")
		}
	}
	if c.q.Get("sig") != "" {
		for param, name := range map[string]string{"rscc": "Cache-Control", "rscd": "Content-Disposition", "rsce": "Content-Encoding", "rscl": "Content-Language", "rsct": "Content-Type"} {
			if v := c.q.Get(param); v != "" {
				h.Set(name, v)
			}
		}
	}
	if err := c.shown(st, status); err != nil || c.r.Method == http.MethodHead {
		return err
	}
	content := st.content
	c.after = func() { content.send(c.w, off, n) }
	return nil
}

// tierOf is the tier of a blob, and whether nobody chose it.
func (c *call) tierOf(st *state) (tier string, inferred bool) {
	switch {
	case st.tier != "":
		return st.tier, false
	case st.kind == kindPage && c.a.premium:
		return "P10", true
	case st.kind == kindBlock:
		return "Hot", true
	}
	return "", false
}

func (c *call) setTier(st *state) error {
	tier := c.r.Header.Get("x-ms-access-tier")
	if (st.kind == kindPage) != strings.HasPrefix(tier, "P") || st.kind == kindPage && !c.a.premium {
		return fail(http.StatusBadRequest, "InvalidHeaderValue", "the tier %q is not for this", tier)
	}
	st.tier = tier
	c.w.WriteHeader(http.StatusOK)
	return nil
}

func (c *call) setProperties(st *state) error {
	h := c.r.Header
	resizing, counting := h.Get("x-ms-blob-content-length"), h.Get("x-ms-sequence-number-action")
	if st.kind != kindPage && resizing+counting != "" {
		return fail(http.StatusConflict, "InvalidBlobType", "The blob type is invalid for this operation.")
	}
	if resizing != "" {
		size, err := blobSize(resizing)
		if err != nil {
			return err
		}
		st.content.resize(size)
	}
	if counting != "" {
		if err := st.count(counting, h.Get("x-ms-blob-sequence-number")); err != nil {
			return err
		}
	}
	if given := headersOf(c.r); len(given) > 0 || resizing+counting == "" {
		st.headers = given
	}
	return c.changed(st, http.StatusOK)
}

func (c *call) snapshot(e *entry, st *state) error {
	at := c.now.UTC().Truncate(100 * time.Nanosecond)
	if !at.After(c.a.last) {
		at = c.a.last.Add(100 * time.Nanosecond)
	}
	c.a.last = at
	copied := *st
	copied.content, copied.lease, copied.copy = st.content.snapshot(), lease{}, nil
	copied.tags, copied.headers = maps.Clone(st.tags), maps.Clone(st.headers)
	if meta := metaOf(c.r); len(meta) > 0 {
		copied.meta = meta
	}
	name := at.Format(snapshotFormat)
	e.snapshots[name] = &copied
	c.w.Header().Set("x-ms-snapshot", name)
	c.w.Header().Set("x-ms-request-server-encrypted", strconv.FormatBool(st.key == ""))
	return c.shown(st, http.StatusCreated)
}

func (c *call) delete(in *container, e *entry, st *state) error {
	switch which := c.r.Header.Get("x-ms-delete-snapshots"); {
	case c.q.Has("snapshot"):
		delete(e.snapshots, c.q.Get("snapshot"))
	case which == "only":
		clear(e.snapshots)
	case which == "" && len(e.snapshots) > 0:
		return fail(http.StatusConflict, "SnapshotsPresent", "This operation is not permitted because the blob has snapshots.")
	default:
		if err := st.lease.allows(c.r, c.now, "Blob"); err != nil {
			return err
		}
		delete(in.blobs, e.name)
	}
	c.w.WriteHeader(http.StatusAccepted)
	return nil
}

// source returns what a URL names, for copies and comparisons, with a check that it may still be read.
func (c *call) source(text string) (*state, func() error, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, nil, fail(http.StatusBadRequest, "InvalidHeaderValue", "x-ms-copy-source")
	}
	if strings.HasPrefix(u.Path, "/md-") {
		check := func() error { _, err := c.s.signed(u, false); return err }
		b, err := c.s.signed(u, false)
		if err != nil {
			return nil, nil, cannotVerify(err)
		}
		return &state{kind: kindPage, content: b.content}, check, nil
	}
	a, path := c.s.account(u.Host, u.EscapedPath())
	if a == nil {
		return nil, nil, fail(http.StatusNotFound, "CannotVerifyCopySource", "there is nothing at %s", u.Host)
	}
	containerName, blobName, _ := strings.Cut(path, "/")
	containerName, _ = url.PathUnescape(containerName) // what does not decode is not found
	blobName, _ = url.PathUnescape(blobName)
	in := a.containers[containerName]
	check := func() error {
		if token, ok := strings.CutPrefix(c.r.Header.Get("x-ms-copy-source-authorization"), "Bearer "); ok {
			if c.s.o.Token == nil || !c.s.o.Token(token) {
				return fail(http.StatusUnauthorized, "InvalidAuthenticationInfo", "the token for the source is not valid")
			}
			return nil
		}
		if !u.Query().Has("sig") {
			if in != nil && in.public != "" || a == c.a && c.who.all && c.r.Header.Get("x-ms-requires-sync")+c.r.Header.Get("x-ms-blob-type") == "" {
				return nil
			}
			return fail(http.StatusUnauthorized, "NoAuthenticationInformation", "the source is not public")
		}
		again := *c
		again.now = c.s.o.Now()
		who, err := again.signature(u, a, containerName, blobName)
		if err == nil && !who.may("r") {
			err = fail(http.StatusForbidden, "AuthorizationPermissionMismatch", "the signature does not allow to read")
		}
		return err
	}
	if err := check(); err != nil {
		return nil, nil, cannotVerify(err)
	}
	if in == nil || in.blobs[blobName] == nil {
		return nil, nil, fail(http.StatusNotFound, "CannotVerifyCopySource", "the source does not exist")
	}
	st := in.blobs[blobName].base
	if at := u.Query().Get("snapshot"); at != "" {
		st = in.blobs[blobName].snapshots[at]
	}
	if st == nil {
		return nil, nil, fail(http.StatusNotFound, "CannotVerifyCopySource", "the source does not exist")
	}
	if st.key != "" && c.r.Header.Get("x-ms-source-encryption-key-sha256") != st.key {
		return nil, nil, fail(http.StatusConflict, "CannotVerifyCopySource", "the source is encrypted with another key")
	}
	return st, check, nil
}

// cannotVerify says of a source's refusal what the target's caller is told.
func cannotVerify(err error) error {
	e, ok := err.(*wireError)
	if !ok {
		return err
	}
	return fail(e.status, "CannotVerifyCopySource", "%s", e.text)
}
