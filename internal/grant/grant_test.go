package grant

import (
	"bytes"
	"context"
	"encoding/base64"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"understudy/internal/dr"
	"understudy/internal/nbd"
)

// records keeps grants in memory.
type records struct {
	mu   sync.Mutex
	list []Record
}

func (r *records) PutGrant(_ context.Context, g Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := slices.IndexFunc(r.list, func(o Record) bool { return o.ID == g.ID }); i >= 0 {
		r.list[i] = g
		return nil
	}
	r.list = append(r.list, g)
	return nil
}

func (r *records) Grants(_ context.Context, active bool, _ int) ([]Record, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(r.list), func(g Record) bool { return active && !g.Ended.IsZero() }), nil
}

// disk is a disk in memory.
type disk struct {
	mu sync.Mutex
	b  []byte
}

func (d *disk) Size() int64 { return int64(len(d.b)) }
func (d *disk) ReadAt(p []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return copy(p, d.b[off:]), nil
}
func (d *disk) WriteAt(p []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return copy(d.b[off:], p), nil
}
func (d *disk) Zero(off, n int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.b[off : off+n])
	return nil
}
func (d *disk) Flush() error { return nil }

type fixture struct {
	*Manager
	records *records
	mu      sync.Mutex
	said    []string
	options Options
}

func open(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{records: &records{}}
	f.options = Options{Records: f.records, Key: bytes.Repeat([]byte{7}, KeySize), Socket: filepath.Join(t.TempDir(), "s"),
		Audit: func(r Record, what string) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.said = append(f.said, string(r.Access)+" "+r.Disk+" "+what)
		}}
	var err error
	if f.Manager, err = Open(t.Context(), f.options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func (f *fixture) issue(t *testing.T, a Access, ttl time.Duration, d nbd.Device) Grant {
	t.Helper()
	g, err := f.Issue(t.Context(), Request{Run: "r1", Disk: "east/db/root", Access: a, TTL: ttl, By: "ann"}, d)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func dial(t *testing.T, uri string) *nbd.Client {
	t.Helper()
	c, err := nbd.Dial(t.Context(), uri, nbd.DialOptions{MetaContexts: []string{nbd.MetaAllocation}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func refused(t *testing.T, uri string) {
	t.Helper()
	if c, err := nbd.Dial(t.Context(), uri, nbd.DialOptions{}); err == nil {
		c.Close()
		t.Error("a grant that is not valid was served")
	} else if dr.KindOf(err) != dr.KindNotFound || !strings.Contains(err.Error(), "grant is not valid") {
		t.Error(err)
	}
}

// cut waits until a connection is cut.
func cut(t *testing.T, c *nbd.Client) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if _, err := c.ReadAt(make([]byte, 512), 0); err != nil && err != io.EOF {
			return
		}
	}
	t.Error("the connection goes on")
}

func TestAccess(t *testing.T) {
	f := open(t)
	d := &disk{b: make([]byte, 8192)}
	r, w := f.issue(t, Read, time.Minute, d), f.issue(t, Write, time.Minute, d)
	reader, writer := dial(t, r.URI), dial(t, w.URI)
	if !reader.ReadOnly() || writer.ReadOnly() || len(reader.MetaContexts()) != 1 {
		t.Errorf("read only %t and %t, contexts %v", reader.ReadOnly(), writer.ReadOnly(), reader.MetaContexts())
	}
	if _, err := reader.WriteAt([]byte("x"), 0); err == nil {
		t.Error("wrote with a grant for reading")
	}
	if _, err := writer.WriteAt([]byte("hello"), 100); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 5)
	if _, err := reader.ReadAt(p, 100); err != nil || string(p) != "hello" {
		t.Errorf("%q %v", p, err)
	}
	if _, err := f.Issue(t.Context(), Request{Disk: "x", Access: Write, TTL: time.Second}, readOnly{d}); err == nil {
		t.Error("granted writing to what cannot be written to")
	}
	if err := f.Release(t.Context(), r.ID); err != nil {
		t.Fatal(err)
	}
	cut(t, reader)
	refused(t, r.URI)
	if err := f.Release(t.Context(), r.ID); err != nil {
		t.Error("second release:", err)
	}
}

type readOnly struct{ d *disk }

func (r readOnly) Size() int64                             { return r.d.Size() }
func (r readOnly) ReadAt(p []byte, off int64) (int, error) { return r.d.ReadAt(p, off) }

func TestForged(t *testing.T) {
	f := open(t)
	g := f.issue(t, Read, time.Minute, &disk{b: make([]byte, 4096)})
	refused(t, nbd.URI(f.options.Socket, g.ID)) // the name below the token is none
	refused(t, nbd.URI(f.options.Socket, "x"))
	raw, err := base64.RawURLEncoding.DecodeString(g.Token)
	if err != nil {
		t.Fatal(err)
	}
	for i := range raw {
		b := bytes.Clone(raw)
		b[i] ^= 1
		if _, err := f.resolve(base64.RawURLEncoding.EncodeToString(b)); err == nil {
			t.Fatalf("byte %d changed, and still valid", i)
		}
	}
	for _, tok := range []string{
		makeToken(bytes.Repeat([]byte{8}, KeySize), g.ID, Read, g.Expires), // another key
		makeToken(f.options.Key, g.ID, Write, g.Expires),                   // more than was given
		makeToken(f.options.Key, "gffff", Read, g.Expires),                 // no such grant
		makeToken(f.options.Key, g.ID, Read, time.Now().Add(-time.Second)), // over
	} {
		if _, err := f.resolve(tok); err == nil {
			t.Error("valid:", tok)
		}
	}
}

func TestExpiry(t *testing.T) {
	f := open(t)
	d := &disk{b: make([]byte, 4096)}
	short, kept := f.issue(t, Read, 300*time.Millisecond, d), f.issue(t, Read, 300*time.Millisecond, d)
	cs, ck := dial(t, short.URI), dial(t, kept.URI)
	renewed, err := f.Renew(t.Context(), kept.ID, time.Minute)
	if err != nil || renewed.Token == kept.Token {
		t.Fatal(err)
	}
	cut(t, cs)
	refused(t, short.URI)
	refused(t, kept.URI) // the old token said when it ends
	dial(t, renewed.URI)
	if _, err := ck.ReadAt(make([]byte, 10), 0); err != nil {
		t.Error("a renewed grant's connection was cut:", err)
	}
	if _, err := f.Renew(t.Context(), short.ID, time.Minute); dr.KindOf(err) != dr.KindUnavailable || !strings.Contains(err.Error(), Expired) {
		t.Error(err)
	}
	if _, err := f.Renew(t.Context(), "g0", time.Minute); dr.KindOf(err) != dr.KindNotFound {
		t.Error(err)
	}
	if err := f.Revoke(t.Context(), kept.ID, "bob"); err != nil {
		t.Fatal(err)
	}
	cut(t, ck)
	refused(t, renewed.URI)
	if err := f.Why(t.Context(), kept.ID); err == nil || !strings.Contains(err.Error(), "revoked by bob") {
		t.Error(err)
	}
	if err := f.Revoke(t.Context(), kept.ID, "bob"); dr.KindOf(err) != dr.KindConflict {
		t.Error(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, want := range []string{"read east/db/root issued", "read east/db/root renewed", "read east/db/root expired", "read east/db/root revoked by bob"} {
		if !slices.Contains(f.said, want) {
			t.Errorf("the audit lacks %q: %q", want, f.said)
		}
	}
}

// TestRestart ends the grants of a process that died.
func TestRestart(t *testing.T) {
	f := open(t)
	f.records.list = append(f.records.list, Record{ID: "gdead", Disk: "east/db/root", Issued: time.Now(), Expires: time.Now().Add(time.Hour)})
	o := f.options
	o.Socket += "2"
	m, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	list, _ := f.records.Grants(t.Context(), true, 10)
	if len(list) != 0 || f.records.list[0].Reason != Orphaned {
		t.Errorf("%+v", f.records.list)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}
