// Package pages is a simulation of Azure's page blobs: those behind managed disks, as their signed URLs show them, and those in
// storage accounts, with what of block blobs comes cheap. True page ranges and differences, snapshots that cost nothing, grants
// that expire and can be revoked, copies that take their time. It keeps everything in memory, sparsely.
package pages

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/url"
	"sync"
	"time"
)

// Options of a Service.
type Options struct {
	Now func() time.Time // time.Now when nil
	// URL returns the base of the service, such as https://127.0.0.1:8443.
	URL func() string
	// Before is called before each request, and may answer it: a fault. Nil for none.
	Before func(Call) *Failure
	// Token says whether an access token is valid in storage accounts. Nil for none.
	Token func(token string) bool
	// CopyTime is how long a copy into a storage account takes.
	CopyTime time.Duration
}

// A Call is a request as faults see it.
type Call struct {
	Method string
	Disk   string // ID
	Op     string // get, head, pagelist, diff, page, page-from-url
}

// A Failure is an answer instead of the right one.
type Failure struct {
	Status int
	Code   string
	After  bool          // do the work, and answer so
	Drop   bool          // break the connection instead of answering
	Retry  time.Duration // Retry-After
	Slow   time.Duration // before the answer, which is the right one when Status is 0
}

// A Service has the content of all disks. Its methods may be called from many goroutines at once.
type Service struct {
	o   Options
	key []byte

	mu       sync.Mutex
	disks    map[string]*Blob // by their account in URLs
	accounts map[string]*account
	calls    map[string]int

	storage sync.Mutex // of what is in accounts
}

// New returns a service without disks.
func New(o Options) *Service {
	if o.Now == nil {
		o.Now = time.Now
	}
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	return &Service{o: o, key: key, disks: map[string]*Blob{}, accounts: map[string]*account{}, calls: map[string]int{}}
}

// A Blob is the content of a disk, or of a snapshot of one.
type Blob struct {
	ID      string
	svc     *Service
	content *content

	mu     sync.Mutex
	grants map[string]grant // by signature
}

type grant struct {
	write   bool
	expires time.Time
}

// CreateDisk makes the content of a disk, all zeros.
func (s *Service) CreateDisk(id string, size int64) *Blob { return s.disk(id, newContent(size)) }

func (s *Service) disk(id string, c *content) *Blob {
	b := &Blob{ID: id, svc: s, content: c, grants: map[string]grant{}}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.disks[diskKey(id)] = b
	return b
}

// Remove forgets a disk's content.
func (s *Service) Remove(b *Blob) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.disks[diskKey(b.ID)] == b {
		delete(s.disks, diskKey(b.ID))
	}
}

// diskKey names a disk in URLs.
func diskKey(id string) string {
	sum := sha256.Sum256([]byte(id))
	return fmt.Sprintf("md-%x", sum[:8])
}

// Size is the blob's size in bytes.
func (b *Blob) Size() int64 {
	b.content.mu.RLock()
	defer b.content.mu.RUnlock()
	return b.content.size
}

// ReadAt reads as a guest does.
func (b *Blob) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > b.Size() {
		return 0, fmt.Errorf("read [%d, %d) of %d bytes", off, off+int64(len(p)), b.Size())
	}
	b.content.readAt(p, off)
	return len(p), nil
}

// WriteAt writes as a guest does.
func (b *Blob) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > b.Size() {
		return 0, fmt.Errorf("write [%d, %d) of %d bytes", off, off+int64(len(p)), b.Size())
	}
	b.content.writeAt(p, off)
	return len(p), nil
}

// Resize changes the size.
func (b *Blob) Resize(size int64) { b.content.resize(size) }

// Ranges lists the pages that hold data.
func (b *Blob) Ranges() []Range { return b.content.ranges(0, b.Size()) }

// Snapshot is the content as it is now, as the content of another resource.
func (b *Blob) Snapshot(id string) *Blob { return b.svc.disk(id, b.content.snapshot()) }

// Copy is the content as it is now, as the content of a resource that has no history in common with it.
func (b *Blob) Copy(id string) *Blob {
	c := b.content.snapshot()
	c.family = new(int)
	return b.svc.disk(id, c)
}

// Diff lists what differs between two contents.
func Diff(older, newer *Blob) []Range { return diff(older.content, newer.content) }

// Grant returns a signed URL of a disk.
func (s *Service) Grant(b *Blob, write bool, expires time.Time) string {
	access := "r"
	if write {
		access = "w"
	}
	se := expires.UTC().Format(time.RFC3339)
	mac := hmac.New(sha256.New, s.key)
	nonce := make([]byte, 8)
	_, _ = rand.Read(nonce) // never fails
	fmt.Fprintf(mac, "%s\n%s\n%s\n%x", diskKey(b.ID), access, se, nonce)
	sig := base64.StdEncoding.EncodeToString(mac.Sum(nil))
	b.mu.Lock()
	b.grants[sig] = grant{write, expires}
	b.mu.Unlock()
	q := url.Values{"sv": {"2018-03-28"}, "sr": {"b"}, "sp": {access}, "se": {se}, "sig": {sig}}
	return s.o.URL() + "/" + diskKey(b.ID) + "/container/abcd?" + q.Encode()
}

// Revoke ends all grants of a disk.
func (s *Service) Revoke(b *Blob) {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.grants)
}

// Expire lets all grants of all disks end now.
func (s *Service) Expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.disks {
		b.mu.Lock()
		for sig, g := range b.grants {
			g.expires = s.o.Now().Add(-time.Second)
			b.grants[sig] = g
		}
		b.mu.Unlock()
	}
}

// Granted reports whether a grant of a disk is in force.
func (b *Blob) Granted() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, g := range b.grants {
		if g.expires.After(b.svc.o.Now()) {
			return true
		}
	}
	return false
}

// Calls returns how often each operation was called.
func (s *Service) Calls() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]int{}
	for k, n := range s.calls {
		out[k] = n
	}
	return out
}
