// Package vault keeps the recovery points of groups of machines in a blob store, as a log of sealed segments.
//
// A segment is the change from one position of a group's history to a later one. Opening a point walks back from it, at
// each position taking the object that ends there and starts earliest, until a base: that rule alone decides what a
// point is made of. One conditional creation of one object commits a point, so nothing is ever half written.
// A group has one owner with an epoch, taken by compare-and-swap; what a stale owner adds is not part of history.
// docs/vault-format.md describes the objects exactly.
package vault

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"time"

	"understudy/internal/dr"
	"understudy/internal/vault/blob"
	"understudy/internal/vault/segment"

	"filippo.io/age"
)

const (
	descriptionName = "vault.json"
	formatVersion   = 1
)

// description is vault.json.
type description struct {
	Format     int       `json:"format"`
	ID         string    `json:"id"`
	Created    time.Time `json:"created"`
	Recipients []string  `json:"recipients"`
	Lock       *LockRule `json:"lock,omitempty"`
}

// CreateOptions describes a new vault.
type CreateOptions struct {
	Recipients []string         // age1...: who can read what is written
	Now        func() time.Time // nil: time.Now
	Lock       *LockRule        // objects are locked against deletion; nil for not
}

// Create makes a store a vault. A store that is one already, or holds the groups of one, is a dr.KindConflict: under a
// new description nothing that is there could be read.
func Create(ctx context.Context, store blob.Store, o CreateOptions) error {
	if len(o.Recipients) == 0 {
		return dr.WithHint(errors.New("create vault: no recipients"), dr.KindInvalid, "give at least one age recipient (age1...)")
	}
	if _, err := parseRecipients(o.Recipients); err != nil {
		return fmt.Errorf("create vault: %w", err)
	}
	if err := o.Lock.Validate(); err != nil {
		return fmt.Errorf("create vault: %w", err)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	js, err := json.MarshalIndent(description{Format: formatVersion, ID: randomID(), Created: o.Now().UTC(), Recipients: o.Recipients, Lock: o.Lock}, "", "  ")
	if err != nil {
		return fmt.Errorf("create vault: %w", err)
	}
	orphans, err := holdsGroups(ctx, store)
	if err != nil {
		return fmt.Errorf("create vault: %w", unavailable(err))
	}
	if orphans {
		return dr.WithHint(fmt.Errorf("create vault: there are recovery points, but no %s", descriptionName), dr.KindConflict,
			"bring "+descriptionName+" back from a copy of the vault, or choose an empty place")
	}
	if o.Lock != nil { // shows whether the store can do that
		store = locking{store, blob.Lock{Mode: o.Lock.Mode, Until: o.Now().Add(o.Lock.Most())}}
	}
	_, err = store.Create(ctx, descriptionName, bytes.NewReader(append(js, '\n')))
	if errors.Is(err, blob.ErrExists) {
		return dr.WithHint(fmt.Errorf("create vault: %w", err), dr.KindConflict, "open the vault that is there, or choose an empty place")
	}
	if err != nil {
		return fmt.Errorf("create vault: %w", unavailable(err))
	}
	return nil
}

// holdsGroups tells whether a store holds objects of a vault's groups.
func holdsGroups(ctx context.Context, store blob.Store) (bool, error) {
	found := errors.New("found")
	err := store.List(ctx, "g/", func(blob.Info) error { return found })
	if errors.Is(err, found) {
		return true, nil
	}
	return false, err
}

// Options says how a vault is used.
type Options struct {
	Identities []age.Identity // empty: points can be written and listed, not read
	Now        func() time.Time
	Logger     *slog.Logger

	Grace      time.Duration // between hiding an object and deleting it; 0: 15 minutes
	CacheBytes int64         // of decoded frames per open point; 0: 16 MiB
	PartBytes  int64         // stored size of a seed's parts; 0: 64 MiB
	Workers    int           // goroutines that compress, per object written; 0: one per processor
}

// A Vault is an open vault. It is safe for concurrent use.
type Vault struct {
	store      blob.Store
	id         string
	recipients []age.Recipient
	identities []age.Identity
	now        func() time.Time
	log        *slog.Logger
	o          Options
	lock       *LockRule // nil when nothing is locked
	codec      *segment.Codec
	sealed     sync.Pool // *sealedFrame

	mu    sync.Mutex
	heads map[string]*object   // immutable headers, by object name
	sound map[string]bool      // merged objects that were read back
	until map[string]time.Time // locks, as far as known
}

// Describe returns the description of the vault in a store, which never changes.
func Describe(ctx context.Context, store blob.Store) ([]byte, error) {
	info, err := store.Stat(ctx, descriptionName)
	if errors.Is(err, blob.ErrNotFound) {
		if orphans, lerr := holdsGroups(ctx, store); lerr == nil && orphans {
			return nil, dr.WithHint(fmt.Errorf("open vault: %w, but there are recovery points", err), dr.KindCorrupt,
				"bring "+descriptionName+" back from a copy of the vault")
		}
		return nil, dr.WithHint(fmt.Errorf("open vault: %w", err), dr.KindNotFound, "no vault here: check the path, or run `understudy protect`, which makes one")
	}
	if err != nil {
		return nil, fmt.Errorf("open vault: %w", unavailable(err))
	}
	if info.Size > 1<<20 {
		return nil, corrupt(fmt.Errorf("open vault: %s has %d bytes", descriptionName, info.Size))
	}
	b := make([]byte, info.Size)
	if err := store.ReadAt(ctx, descriptionName, b, 0); err != nil {
		return nil, fmt.Errorf("open vault: %w", unavailable(err))
	}
	return b, nil
}

// Description is what Describe returned as the object of a store.
func Description(described []byte) map[string][]byte {
	return map[string][]byte{descriptionName: described}
}

// Open opens the vault in a store.
func Open(ctx context.Context, store blob.Store, o Options) (*Vault, error) {
	b, err := Describe(ctx, store)
	if err != nil {
		return nil, err
	}
	var d description
	if err := json.Unmarshal(b, &d); err != nil {
		return nil, corrupt(fmt.Errorf("open vault: %s: %w", descriptionName, err))
	}
	if d.Format != formatVersion {
		return nil, dr.WithHint(fmt.Errorf("open vault: format %d, this program knows %d", d.Format, formatVersion), dr.KindInvalid, "use a newer version of understudy")
	}
	if err := d.Lock.Validate(); err != nil {
		return nil, corrupt(fmt.Errorf("open vault: %w", err))
	}
	recipients, err := parseRecipients(d.Recipients)
	if err != nil {
		return nil, corrupt(fmt.Errorf("open vault: %w", err))
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Grace == 0 {
		o.Grace = 15 * time.Minute
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = 16 << 20
	}
	if o.PartBytes == 0 {
		o.PartBytes = 64 << 20
	}
	codec, err := segment.NewCodec(o.Workers)
	if err != nil {
		return nil, err
	}
	return &Vault{store: store, id: d.ID, recipients: recipients, identities: o.Identities, now: o.Now,
		log: o.Logger.With("vault", d.ID), o: o, codec: codec, sealed: sync.Pool{New: func() any { return new(sealedFrame) }},
		lock: d.Lock, heads: make(map[string]*object), sound: make(map[string]bool), until: make(map[string]time.Time)}, nil
}

// ID is the vault's name for itself, random and stable.
func (v *Vault) ID() string { return v.id }

// CanRead reports whether there is an identity to read points with.
func (v *Vault) CanRead() bool { return len(v.identities) > 0 }

// Groups lists the groups that have anything in the vault, sorted.
func (v *Vault) Groups(ctx context.Context) ([]string, error) {
	var groups []string
	err := v.store.List(ctx, "g/", func(i blob.Info) error {
		name, _, ok := strings.Cut(strings.TrimPrefix(i.Name, "g/"), "/")
		if ok && (len(groups) == 0 || groups[len(groups)-1] != name) {
			groups = append(groups, name)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list groups: %w", unavailable(err))
	}
	return groups, nil
}

var groupName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

func checkGroup(group string) error {
	if !groupName.MatchString(group) {
		return dr.WithHint(fmt.Errorf("group name %.80q cannot be used in a vault", group), dr.KindInvalid,
			"use up to 63 lower-case letters, digits, '.', '_' and '-', starting with a letter or digit")
	}
	return nil
}

// Names of objects. Numbers are padded so that the order of names is the order of positions.
func positionName(p dr.Position) string { return fmt.Sprintf("%010d-%016d", p.Epoch, p.Sequence) }

func pointName(group string, p dr.Position) string {
	return "g/" + group + "/p/" + positionName(p)
}

func mergedName(group string, from, to dr.Position) string {
	start := "base"
	if !from.IsZero() {
		start = positionName(from)
	}
	return "g/" + group + "/m/" + positionName(to) + "." + start
}

func partName(group, seed string, part uint32) string {
	return fmt.Sprintf("g/%s/s/%s/%08d", group, seed, part)
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails
	return b
}

func randomID() string { return hex.EncodeToString(randomBytes(8)) }

func corrupt(err error) error {
	return dr.WithHint(err, dr.KindCorrupt, "run `understudy vault verify` to see which recovery points are still good")
}

// unavailable classes an error of the store that nobody classed yet.
func unavailable(err error) error {
	var e *dr.Error
	if err == nil || errors.As(err, &e) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return dr.WithHint(err, dr.KindUnavailable, "check that the vault's storage is reachable and has space")
}

// objectReader reads an object as an io.ReaderAt.
type objectReader struct {
	ctx   context.Context
	store blob.Store
	name  string
}

func (r objectReader) ReadAt(p []byte, off int64) (int, error) {
	if err := r.store.ReadAt(r.ctx, r.name, p, off); err != nil {
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			err = unavailable(err)
		}
		return 0, err
	}
	return len(p), nil
}
