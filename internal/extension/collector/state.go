package collector

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"understudy/internal/dr"
)

// Files in the folder.
const (
	// URLFile says where the collector listens, while it runs.
	URLFile = "collector.url"
	// TokenFile holds the administrator's token.
	TokenFile = "admin.token"

	stateFile = "collector.json"
	lockFile  = "lock"
)

// saveEvery is how often heartbeats are saved.
const saveEvery = 5 * time.Second

// state is what is kept. Registrations are replaced when they are changed, never written to, but for their heartbeat.
type state struct {
	Rules         map[string]Rule
	Registrations map[key]*registration
}

type registration struct {
	Registration
	Hash [sha256.Size]byte
}

// public is what may be shown.
func (r *registration) public() Registration {
	p := r.Registration
	p.Associations = slices.Clone(p.Associations)
	return p
}

// stored is the file: JSON, version 1.
type stored struct {
	Version       int                  `json:"version"`
	Rules         []Rule               `json:"rules"`
	Registrations []storedRegistration `json:"registrations"`
}

type storedRegistration struct {
	Registration
	Hash []byte `json:"hash"` // SHA-256 of the token
}

// Open opens a collector's folder, which one process at a time may hold.
func Open(cfg Config) (_ *Collector, err error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open collector: %w", err)
	}
	c := &Collector{cfg: cfg, tokens: map[[sha256.Size]byte]key{}, refusals: map[key]*Refusal{}}
	held, err := lock(filepath.Join(cfg.Dir, lockFile))
	if err != nil {
		return nil, dr.WithHint(fmt.Errorf("open collector: %s: %w", cfg.Dir, err), dr.KindConflict,
			"another collector runs on this folder: stop it, or use another with --dir")
	}
	c.held = held
	if err := errors.Join(c.loadAdmin(), c.load()); err != nil {
		return nil, errors.Join(fmt.Errorf("open collector: %w", err), held.Close())
	}
	return c, nil
}

func (c *Collector) loadAdmin() error {
	file := filepath.Join(c.cfg.Dir, TokenFile)
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		data = []byte(secret("ua_") + "\n")
		err = writeFile(file, data)
	}
	c.admin = strings.TrimSpace(string(data))
	if err == nil && c.admin == "" {
		err = dr.WithHint(fmt.Errorf("%s is empty", file), dr.KindInvalid, "remove it: another token is made")
	}
	return err
}

func (c *Collector) load() error {
	c.state = state{Rules: map[string]Rule{}, Registrations: map[key]*registration{}}
	file := filepath.Join(c.cfg.Dir, stateFile)
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var s stored
	if err := json.Unmarshal(data, &s); err != nil {
		return dr.WithHint(fmt.Errorf("%s: %w", file, err), dr.KindCorrupt, "put back a copy, or move it away and register the agents again")
	}
	if s.Version != 1 {
		return dr.WithHint(fmt.Errorf("%s has version %d, this program knows 1", file, s.Version), dr.KindConflict, "a newer understudy wrote it: run that version")
	}
	for _, r := range s.Rules {
		c.state.Rules[r.Name] = r
	}
	for _, r := range s.Registrations {
		if len(r.Hash) != sha256.Size {
			return dr.WithHint(fmt.Errorf("%s: registration %s/%s has no token", file, r.Machine, r.Extension), dr.KindCorrupt, "put back a copy of the file")
		}
		c.state.Registrations[key{r.Machine, r.Extension}] = &registration{r.Registration, [sha256.Size]byte(r.Hash)}
	}
	c.index()
	return nil
}

// index finds registrations by their tokens. It needs the lock.
func (c *Collector) index() {
	clear(c.tokens)
	for k, r := range c.state.Registrations {
		c.tokens[r.Hash] = k
	}
}

// change makes a change durable, or does not make it.
func (c *Collector) change(f func(*state) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := state{Rules: maps.Clone(c.state.Rules), Registrations: maps.Clone(c.state.Registrations)}
	if err := f(&next); err != nil {
		return err
	}
	if err := c.save(next); err != nil {
		return err
	}
	c.state = next
	c.index()
	return nil
}

// save writes a state. It needs the lock.
func (c *Collector) save(s state) error {
	doc := stored{Version: 1, Rules: []Rule{}, Registrations: []storedRegistration{}}
	for _, name := range slices.Sorted(maps.Keys(s.Rules)) {
		doc.Rules = append(doc.Rules, s.Rules[name])
	}
	for _, k := range slices.SortedFunc(maps.Keys(s.Registrations), func(a, b key) int { return strings.Compare(a.String(), b.String()) }) {
		r := s.Registrations[k]
		doc.Registrations = append(doc.Registrations, storedRegistration{r.Registration, r.Hash[:]})
	}
	data, err := json.MarshalIndent(doc, "", " ")
	if err == nil {
		err = writeFile(filepath.Join(c.cfg.Dir, stateFile), append(data, '\n'))
	}
	if err != nil {
		return dr.WithHint(fmt.Errorf("save the collector's state: %w", err), dr.KindUnavailable, "is the disk of "+c.cfg.Dir+" full?")
	}
	c.dirty = false
	return nil
}

// flush saves heartbeats that came since the last save.
func (c *Collector) flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.dirty {
		return nil
	}
	return c.save(c.state)
}

// Run saves heartbeats now and then until ctx ends.
func (c *Collector) Run(ctx context.Context) {
	tick := time.NewTicker(saveEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := c.flush(); err != nil {
				c.cfg.Logger.Error("save heartbeats", "err", err)
			}
		}
	}
}

// Close saves what is not saved, and lets go of the folder.
func (c *Collector) Close() error { return errors.Join(c.flush(), c.held.Close()) }

// writeFile replaces a private file whole or not at all, durably.
func writeFile(file string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(file), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncDir(filepath.Dir(file))
}
