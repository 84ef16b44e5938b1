// Package grant gives access to the data of disks for a limited time. A grant is of one disk, for reading or for writing; it
// expires, is renewed, revoked and released, and every one of these is recorded. Whoever holds its token reads or writes
// the disk as the NBD export of that name, on a private socket. The end of a grant cuts its connections.
package grant

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"understudy/internal/dr"
	"understudy/internal/nbd"
)

// Access is what a grant allows.
type Access string

// What a grant may allow.
const (
	Read  Access = "read"
	Write Access = "write" // and reading
)

// A Record is what is kept of a grant, also when it has ended. It holds no secret.
type Record struct {
	ID      string    `json:"id"`
	Run     string    `json:"run"`
	Disk    string    `json:"disk"` // site/machine/disk, or group@point/machine/disk
	Access  Access    `json:"access"`
	By      string    `json:"by,omitempty"` // who asked for the run
	Issued  time.Time `json:"issued"`
	Expires time.Time `json:"expires"`
	Renewed int       `json:"renewed,omitempty"` // how often
	Ended   time.Time `json:"ended,omitzero"`
	Reason  string    `json:"reason,omitempty"` // why it ended: released, expired, revoked by admin, ...
}

// Reasons for which a grant ends. Others say who revoked it.
const (
	Released = "released"
	Expired  = "expired"
	Orphaned = "the controller ended"
)

// Records keeps grants. The controller's store is one.
type Records interface {
	// PutGrant saves a grant.
	PutGrant(ctx context.Context, r Record) error
	// Grants lists grants, the newest first: those that have not ended with active, at most limit.
	Grants(ctx context.Context, active bool, limit int) ([]Record, error)
}

// Options of a Manager.
type Options struct {
	Records Records
	Key     []byte // for signing; KeySize bytes
	Socket  string // path of the socket to serve on
	Now     func() time.Time
	Logger  *slog.Logger
	// Audit is told what happens to grants; may be nil.
	Audit func(r Record, what string)
}

// A Manager issues grants and serves the disks that they are of. Its methods may be called from many goroutines at once.
type Manager struct {
	o    Options
	done chan error // of server

	mu     sync.Mutex
	active map[string]*active
	server *nbd.Server // from the first grant on
	closed bool
}

type active struct {
	record Record
	timer  *time.Timer
	until  time.Time // by the monotonic clock, which nobody sets
	ended  bool
	cut    chan struct{} // closed when its device is not used any more
	gone   func()        // called then
}

// Open makes a Manager. Grants that an earlier process issued end: the disks that they were of are
// not open any more. The socket is there from the first grant on.
func Open(ctx context.Context, o Options) (*Manager, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Audit == nil {
		o.Audit = func(Record, string) {}
	}
	if len(o.Key) != KeySize {
		return nil, fmt.Errorf("open grants: the key has %d bytes, not %d", len(o.Key), KeySize)
	}
	m := &Manager{o: o, active: map[string]*active{}, done: make(chan error, 1)}
	left, err := o.Records.Grants(ctx, true, 1<<20)
	if err != nil {
		return nil, fmt.Errorf("open grants: %w", err)
	}
	for _, r := range left {
		r.Ended, r.Reason = o.Now().UTC(), Orphaned
		if err := o.Records.PutGrant(ctx, r); err != nil {
			return nil, fmt.Errorf("open grants: %w", err)
		}
	}
	// A socket that a dead controller left; no live one shares this data folder.
	if err := os.Remove(o.Socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("open grants: %w", err)
	}
	return m, nil
}

// serve begins to serve, for the first grant.
func (m *Manager) serve(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.closed:
		return dr.WithHint(errors.New("grants are closed"), dr.KindUnavailable, "")
	case m.server != nil:
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(m.o.Socket), 0o700); err != nil {
		return err
	}
	l, err := net.Listen("unix", m.o.Socket)
	if err == nil {
		err = os.Chmod(m.o.Socket, 0o600)
	}
	if err != nil {
		return dr.WithHint(fmt.Errorf("serve grants: %w", err), dr.KindUnavailable, "check the data folder's run directory")
	}
	server := nbd.NewServer(nbd.ServerOptions{Logger: m.o.Logger, Resolve: m.resolve, Connections: 256})
	m.server = server
	// It outlives the call that begins it; Close ends it.
	go func() { m.done <- server.Serve(context.WithoutCancel(ctx), l) }()
	return nil
}

// Close ends all grants and stops serving. One that was never opened is closed.
func (m *Manager) Close() error {
	if m == nil {
		return nil
	}
	m.mu.Lock()
	m.closed = true
	server := m.server
	var ids []string
	for id := range m.active {
		ids = append(ids, id)
	}
	m.mu.Unlock()
	var errs []error
	for _, id := range ids {
		errs = append(errs, m.end(context.Background(), id, Orphaned))
	}
	if server == nil {
		return errors.Join(errs...)
	}
	errs = append(errs, server.Close(), <-m.done)
	if err := os.Remove(m.o.Socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// A Request asks for a grant.
type Request struct {
	Run    string
	Disk   string
	Access Access
	TTL    time.Duration
	By     string
	Ended  func() // called once when the device is not used any more; may be nil
}

// A Grant is access that was given. Only its holder knows the token.
type Grant struct {
	Record
	Token string
	URI   string // of the NBD export
}

// Issue grants access to a device, which must stay usable until the grant has ended. Writing needs an nbd.Writable.
func (m *Manager) Issue(ctx context.Context, q Request, device nbd.Device) (Grant, error) {
	if _, ok := device.(nbd.Writable); q.Access == Write && !ok {
		return Grant{}, fmt.Errorf("grant %s access to %s: it cannot be written to", q.Access, q.Disk)
	}
	if q.TTL <= 0 {
		return Grant{}, dr.WithHint(fmt.Errorf("grant %s access to %s for %s", q.Access, q.Disk, q.TTL), dr.KindInvalid, "a grant lasts longer than no time")
	}
	var random [8]byte
	rand.Read(random[:]) // never fails
	now := m.o.Now().UTC()
	r := Record{ID: "g" + hex.EncodeToString(random[:]), Run: q.Run, Disk: q.Disk, Access: q.Access, By: q.By, Issued: now, Expires: now.Add(q.TTL)}
	if err := ctx.Err(); err != nil {
		return Grant{}, context.Cause(ctx)
	}
	if err := m.serve(ctx); err != nil {
		return Grant{}, err
	}
	// Not interrupted: a row that was written although the caller was told otherwise would stay.
	if err := m.o.Records.PutGrant(context.WithoutCancel(ctx), r); err != nil {
		return Grant{}, fmt.Errorf("grant %s access to %s: %w", q.Access, q.Disk, err)
	}
	if err := m.server.Add(nbd.Export{Name: r.ID, Device: device, ReadOnly: q.Access == Read, Description: q.Disk}); err != nil {
		r.Ended, r.Reason = now, err.Error()
		return Grant{}, errors.Join(err, m.o.Records.PutGrant(context.WithoutCancel(ctx), r))
	}
	a := &active{record: r, until: time.Now().Add(q.TTL), cut: make(chan struct{}), gone: q.Ended}
	m.mu.Lock()
	m.active[r.ID] = a
	a.timer = time.AfterFunc(q.TTL, func() { m.expire(r.ID) })
	m.mu.Unlock()
	m.o.Audit(r, "issued")
	return m.grant(r), nil
}

func (m *Manager) grant(r Record) Grant {
	token := makeToken(m.o.Key, r.ID, r.Access, r.Expires)
	return Grant{Record: r, Token: token, URI: nbd.URI(m.o.Socket, token)}
}

// Renew lets a grant that has not ended last for ttl from now. Connections go on; the grant's new token is for new ones.
func (m *Manager) Renew(ctx context.Context, id string, ttl time.Duration) (Grant, error) {
	m.mu.Lock()
	a := m.active[id]
	if a == nil || a.ended {
		m.mu.Unlock()
		return Grant{}, m.ended(ctx, id)
	}
	a.record.Expires, a.record.Renewed = m.o.Now().UTC().Add(ttl), a.record.Renewed+1
	a.until = time.Now().Add(ttl)
	a.timer.Reset(ttl)
	r := a.record
	// Under the lock, so that the end of the grant is recorded after this.
	err := m.o.Records.PutGrant(context.WithoutCancel(ctx), r)
	m.mu.Unlock()
	if err != nil {
		return Grant{}, fmt.Errorf("renew grant %s: %w", id, err)
	}
	m.o.Audit(r, "renewed")
	return m.grant(r), nil
}

// ended is the error of a grant that is not active.
func (m *Manager) ended(ctx context.Context, id string) error {
	list, err := m.o.Records.Grants(ctx, false, 1<<20)
	if err != nil {
		return err
	}
	for _, r := range list {
		if r.ID == id {
			kind := dr.KindConflict
			if r.Reason == Expired || r.Reason == Orphaned {
				kind = dr.KindUnavailable // nobody wanted that
			}
			return dr.WithHint(fmt.Errorf("grant %s of %s has ended: %s", id, r.Disk, cmp.Or(r.Reason, Orphaned)), kind, "understudy grant list --all")
		}
	}
	return dr.WithHint(fmt.Errorf("no grant %q", id), dr.KindNotFound, "understudy grant list")
}

// Why says why a grant has ended, or returns nil while it has not.
func (m *Manager) Why(ctx context.Context, id string) error {
	m.mu.Lock()
	a := m.active[id]
	m.mu.Unlock()
	if a != nil && !a.ended {
		return nil
	}
	return m.ended(ctx, id)
}

// Revoke ends a grant before its time and cuts its connections. It says so when the grant has ended already.
func (m *Manager) Revoke(ctx context.Context, id, by string) error {
	m.mu.Lock()
	a := m.active[id]
	m.mu.Unlock()
	if a == nil {
		return m.ended(ctx, id)
	}
	return m.end(ctx, id, "revoked by "+by)
}

// Release ends a grant whose holder is done. It does nothing when it has ended. When it returns, the device is not used
// any more.
func (m *Manager) Release(ctx context.Context, id string) error { return m.end(ctx, id, Released) }

func (m *Manager) expire(id string) {
	m.mu.Lock()
	a := m.active[id]
	// A renewal may have come while the timer fired.
	renewed := a == nil || time.Now().Before(a.until)
	m.mu.Unlock()
	if renewed {
		return
	}
	if err := m.end(context.Background(), id, Expired); err != nil {
		m.o.Logger.Error("end grant", "grant", id, "error", err)
	}
}

func (m *Manager) end(ctx context.Context, id, reason string) error {
	m.mu.Lock()
	a := m.active[id]
	if a == nil {
		m.mu.Unlock()
		return nil
	}
	first := !a.ended
	a.ended = true
	a.timer.Stop()
	if first {
		a.record.Ended, a.record.Reason = m.o.Now().UTC(), reason
	}
	r := a.record
	m.mu.Unlock()
	if !first {
		<-a.cut
		return nil
	}
	// Cut first: a record that cannot be written must not keep access alive.
	m.server.Remove(id)
	close(a.cut)
	if a.gone != nil {
		a.gone()
	}
	err := m.o.Records.PutGrant(context.WithoutCancel(ctx), r)
	m.mu.Lock()
	delete(m.active, id)
	m.mu.Unlock()
	m.o.Audit(r, r.Reason)
	if err != nil {
		return fmt.Errorf("end grant %s: %w", id, err)
	}
	return nil
}

// resolve turns a token into the name of its export.
func (m *Manager) resolve(token string) (string, error) {
	id, access, expires, err := readToken(m.o.Key, token)
	if err != nil {
		return "", err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.active[id]
	if a == nil || a.ended || a.record.Access != access || !m.o.Now().Before(expires) {
		return "", errToken
	}
	return id, nil
}
