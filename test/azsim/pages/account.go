package pages

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// An account is a storage account: containers of blobs that its keys, signatures and tokens open.
type account struct {
	name       string
	key        []byte
	premium    bool
	containers map[string]*container
	last       time.Time         // of the newest snapshot: they are ordered by time
	delegated  map[string][]byte // keys that were handed out for signatures of users, by their start and end
}

type container struct {
	meta     map[string]string
	etag     string
	modified time.Time
	public   string // blob or container: readable by everybody
	acl      []byte
	lease    lease
	blobs    map[string]*entry
}

// An entry is a name in a container: a blob with its snapshots, and blocks that are not part of it yet.
type entry struct {
	name      string
	base      *state // nil before the first block list
	snapshots map[string]*state
	staged    map[string][]byte
}

// state is a blob or a snapshot of one.
type state struct {
	kind              string // PageBlob, BlockBlob, AppendBlob
	content           *content
	blocks            []block
	headers           map[string]string // those of HTTP that are kept and given back
	meta, tags        map[string]string
	etag              string
	modified, created time.Time
	sequence          int64
	tier              string
	key, scope        string // digest of the customer's key, and name of the encryption scope
	lease             lease
	copy              *copying
}

// AddAccount makes a storage account. Premium ones have tiers of page blobs.
func (s *Service) AddAccount(name string, key []byte, premium bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accounts[name] = &account{name: name, key: key, premium: premium, containers: map[string]*container{}, delegated: map[string][]byte{}}
}

// Owns reports whether a request is for a storage account: by its host, NAME.blob.core.windows.net, or by its path, /NAME/...
func (s *Service) Owns(r *http.Request) bool {
	a, _ := s.account(r.Host, r.URL.EscapedPath())
	return a != nil
}

// account returns the account that a URL is for, and the rest of the path.
func (s *Service) account(host, path string) (*account, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	path = strings.TrimPrefix(path, "/")
	if name, domain, _ := strings.Cut(host, "."); strings.HasPrefix(domain, "blob.") {
		return s.accounts[strings.TrimSuffix(name, "-secondary")], path
	}
	name, rest, _ := strings.Cut(path, "/")
	return s.accounts[name], rest
}

// A call is a request to an account. All accounts are locked while it is answered, but for what comes after.
type call struct {
	s    *Service
	a    *account
	w    http.ResponseWriter
	r    *http.Request
	q    url.Values
	body []byte
	now  time.Time

	containerName, blobName string
	who                     access
	after                   func() // sends the body; nil when that was done
}

// ServeAccount answers a request that Owns.
func (s *Service) ServeAccount(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("x-ms-version", r.Header.Get("x-ms-version"))
	h.Set("x-ms-request-id", unique())
	if id := r.Header.Get("x-ms-client-request-id"); id != "" {
		h.Set("x-ms-client-request-id", id)
	}
	if err := s.serveAccount(w, r); err != nil {
		refuse(w, err)
	}
}

func (s *Service) serveAccount(w http.ResponseWriter, r *http.Request) error {
	a, path := s.account(r.Host, r.URL.EscapedPath())
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return fail(http.StatusBadRequest, "InvalidInput", "the body: %v", err)
	}
	c := &call{s: s, a: a, w: w, r: r, q: r.URL.Query(), body: body, now: s.o.Now()}
	name, rest, _ := strings.Cut(path, "/")
	if c.containerName, err = url.PathUnescape(name); err == nil {
		c.blobName, err = url.PathUnescape(rest)
	}
	if err != nil {
		return fail(http.StatusBadRequest, "InvalidUri", "%v", err)
	}
	if err := c.answer(); err != nil {
		return err
	}
	if c.after != nil {
		c.after()
	}
	return nil
}

func (c *call) answer() error {
	c.s.storage.Lock()
	defer c.s.storage.Unlock()
	if err := c.authorize(); err != nil {
		return err
	}
	switch {
	case c.q.Get("restype") == "account":
		c.w.Header().Set("x-ms-sku-name", map[bool]string{false: "Standard_LRS", true: "Premium_LRS"}[c.a.premium])
		c.w.Header().Set("x-ms-account-kind", "StorageV2")
		return nil
	case c.containerName == "":
		return c.service()
	case c.blobName == "":
		return c.container()
	}
	return c.blob()
}

// op names what a call asks for: its method and what it is about.
func (c *call) op() string { return strings.TrimSpace(c.r.Method + " " + c.q.Get("comp")) }

func unknown(c *call) error {
	return fail(http.StatusNotImplemented, "APINotImplemented", "%s of this is not simulated", c.op())
}

func unique() string {
	raw := make([]byte, 16)
	_, _ = rand.Read(raw) // never fails
	return fmt.Sprintf("%x-%x-%x-%x-%x", raw[:4], raw[4:6], raw[6:8], raw[8:10], raw[10:])
}

func newETag() string {
	return `"0x` + strings.ToUpper(strings.ReplaceAll(unique(), "-", "")[:15]) + `"`
}

func (c *call) service() error {
	switch c.op() {
	case "POST userdelegationkey":
		return c.delegate()
	case "GET list":
		return c.listContainers()
	case "GET blobs":
		return c.filterBlobs()
	case "GET properties":
		return writeXML(c.w, http.StatusOK, struct {
			XMLName struct{} `xml:"StorageServiceProperties"`
		}{})
	}
	return unknown(c)
}

// delegate hands out a key that signatures of a user are made with.
func (c *call) delegate() error {
	var in struct{ Start, Expiry string }
	if err := readXML(c.body, &in); err != nil {
		return err
	}
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	c.a.delegated[in.Start+in.Expiry] = key
	return writeXML(c.w, http.StatusOK, struct {
		XMLName                                                                              struct{} `xml:"UserDelegationKey"`
		SignedOid, SignedTid, SignedStart, SignedExpiry, SignedService, SignedVersion, Value string
	}{SignedOid: "user", SignedTid: "tenant", SignedStart: in.Start, SignedExpiry: in.Expiry, SignedService: "b", SignedVersion: c.r.Header.Get("x-ms-version"),
		Value: base64.StdEncoding.EncodeToString(key)})
}

func (c *call) container() error {
	have := c.a.containers[c.containerName]
	if c.op() == "PUT" {
		if have != nil {
			return fail(http.StatusConflict, "ContainerAlreadyExists", "the container %s exists", c.containerName)
		}
		if n := len(c.containerName); n < 3 || n > 63 {
			return fail(http.StatusBadRequest, "OutOfRangeInput", "The specified resource name length is not within the permissible limits.")
		}
		have = &container{meta: metaOf(c.r), blobs: map[string]*entry{}, public: c.r.Header.Get("x-ms-blob-public-access")}
		c.a.containers[c.containerName] = have
		return c.touchContainer(have, http.StatusCreated)
	}
	if have == nil {
		return fail(http.StatusNotFound, "ContainerNotFound", "the container %s does not exist", c.containerName)
	}
	switch c.op() {
	case "GET", "HEAD", "GET metadata", "HEAD metadata":
		have.lease.show(c.w.Header(), c.now)
		showMeta(c.w.Header(), have.meta)
		return c.containerShown(have, http.StatusOK)
	case "PUT metadata":
		have.meta = metaOf(c.r)
		return c.touchContainer(have, http.StatusOK)
	case "PUT acl":
		have.public, have.acl = c.r.Header.Get("x-ms-blob-public-access"), c.body
		return c.touchContainer(have, http.StatusOK)
	case "GET acl":
		if have.public != "" {
			c.w.Header().Set("x-ms-blob-public-access", have.public)
		}
		c.w.Header().Set("Content-Type", "application/xml")
		if err := c.containerShown(have, http.StatusOK); err != nil {
			return err
		}
		if len(have.acl) == 0 {
			_, _ = io.WriteString(c.w, "<SignedIdentifiers/>") // the caller may be gone
		}
		_, _ = c.w.Write(have.acl) // as above
		return nil
	case "GET list":
		return c.listBlobs(have)
	case "GET blobs":
		return c.filterBlobs()
	case "PUT lease":
		return c.leaseOf(&have.lease)
	case "DELETE":
		if err := have.lease.allows(c.r, c.now, "Container"); err != nil {
			return err
		}
		delete(c.a.containers, c.containerName)
		c.w.WriteHeader(http.StatusAccepted)
		return nil
	}
	return unknown(c)
}

func (c *call) touchContainer(have *container, status int) error {
	have.etag, have.modified = newETag(), c.now
	return c.containerShown(have, status)
}

func (c *call) containerShown(have *container, status int) error {
	c.w.Header().Set("ETag", have.etag)
	c.w.Header().Set("Last-Modified", have.modified.UTC().Format(http.TimeFormat))
	c.w.WriteHeader(status)
	return nil
}

const metaPrefix = "X-Ms-Meta-"

// metaOf reads the metadata in a request's headers.
func metaOf(r *http.Request) map[string]string {
	out := map[string]string{}
	for name, values := range r.Header {
		if rest, ok := strings.CutPrefix(http.CanonicalHeaderKey(name), metaPrefix); ok {
			out[rest] = strings.Join(values, ",")
		}
	}
	return out
}

func showMeta(h http.Header, meta map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(meta)) {
		h.Set(metaPrefix+name, meta[name])
	}
}
