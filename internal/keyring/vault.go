package keyring

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"filippo.io/age"

	"understudy/internal/dr"
	"understudy/internal/registry"
	"understudy/internal/vault"
	"understudy/internal/vault/blob"
)

// A Place says where a vault is and what opens it.
type Place struct {
	URL string
	Key string // key file; empty: the default one of the vault
	// Lock is the rule for locks of a vault that is made, and wanted of one that is there; nil for none, or any.
	Lock *vault.LockRule
}

// String is the place as a person writes it.
func (p Place) String() string {
	if dir, ok := registry.Folder(p.URL); ok {
		return dir
	}
	return p.URL
}

// Opener opens vaults.
type Opener struct {
	Homes  Homes
	Now    func() time.Time
	Logger *slog.Logger
	// Store opens the store of a vault, and makes it with create; registry.Blob when nil.
	Store func(vaultURL string, create bool) (blob.Store, error)
	// Remember is a folder; vaults that were opened once, and are in no folder themselves, can be opened again while their
	// store is away. Empty for none.
	Remember string
}

// checkTime is how long a store may take to say which vault it holds.
const checkTime = time.Minute

func (o Opener) store(vaultURL string, create bool) (blob.Store, error) {
	if o.Store != nil {
		return o.Store(vaultURL, create)
	}
	return registry.Blob(vaultURL, create)
}

// Opened is an open vault and what was found on the way.
type Opened struct {
	*vault.Vault
	URL     string
	KeyFile string // empty when there is no key here
	Made    bool   // the vault was made by this call
	NewKey  bool   // and so was its key
}

// Open opens the vault at a place, with its key where there is one.
func (o Opener) Open(ctx context.Context, p Place) (*Opened, error) {
	store, err := o.openStore(p.URL)
	if err != nil {
		return nil, fmt.Errorf("open vault %s: %w", p, err)
	}
	// The vault's name for itself is needed to find the key, and is readable without it.
	v, err := vault.Open(ctx, store, vault.Options{Now: o.Now, Logger: o.Logger})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p, err)
	}
	if is := v.Lock(); p.Lock != nil && (is == nil || *is != *p.Lock) {
		return nil, dr.WithHint(fmt.Errorf("open vault %s: it was not made with these locks", p), dr.KindConflict, "leave --lock out, or make another vault: locks are chosen when a vault is made")
	}
	opened := &Opened{Vault: v, URL: p.URL, KeyFile: p.Key}
	if opened.KeyFile == "" {
		opened.KeyFile = o.Homes.KeyFile(v.ID())
	}
	ids, err := ReadKey(opened.KeyFile)
	switch {
	case err == nil:
		opened.Vault, err = vault.Open(ctx, store, vault.Options{Identities: ids, Now: o.Now, Logger: o.Logger})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p, err)
		}
	case p.Key == "" && errors.Is(err, fs.ErrNotExist):
		opened.KeyFile = ""
	default:
		return nil, err
	}
	if err := o.remember(ctx, p.URL, store); err != nil {
		return nil, fmt.Errorf("%s: %w", p, err)
	}
	return opened, nil
}

// OpenReadable is Open of a vault that will be read: it needs the key.
func (o Opener) OpenReadable(ctx context.Context, p Place) (*Opened, error) {
	v, err := o.Open(ctx, p)
	if err != nil {
		return nil, err
	}
	if !v.CanRead() {
		return nil, dr.WithHint(fmt.Errorf("open vault %s: its key is not here", p), dr.KindInvalid,
			fmt.Sprintf("give the key with --key FILE or UNDERSTUDY_KEY_FILE, or put it back as %s", o.Homes.KeyFile(v.ID())))
	}
	return v, nil
}

// Create makes a vault at a place, with a new key unless the place names one.
func (o Opener) Create(ctx context.Context, p Place) (*Opened, error) {
	if err := o.vacant(p); err != nil {
		return nil, err
	}
	var ids []age.Identity
	var fresh string
	if p.Key != "" {
		var err error
		if ids, err = ReadKey(p.Key); err != nil {
			return nil, err
		}
	}
	store, err := o.store(p.URL, true)
	if err != nil {
		return nil, fmt.Errorf("make vault %s: %w", p, err)
	}
	if p.Key == "" {
		file, id, err := o.Homes.newKey()
		if err != nil {
			return nil, err
		}
		fresh, ids = file, []age.Identity{id}
	}
	list, err := recipients(ids)
	if err != nil {
		return nil, err
	}
	if err := vault.Create(ctx, store, vault.CreateOptions{Recipients: list, Now: o.Now, Lock: p.Lock}); err != nil {
		if fresh != "" && dr.KindOf(err) == dr.KindConflict {
			// Another vault is there, so nothing is sealed with this key. After any other error that is not sure.
			err = errors.Join(err, os.Remove(fresh))
		}
		return nil, fmt.Errorf("%s: %w", p, err)
	}
	v, err := vault.Open(ctx, store, vault.Options{Identities: ids, Now: o.Now, Logger: o.Logger})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p, err)
	}
	if err := o.remember(ctx, p.URL, store); err != nil {
		return nil, fmt.Errorf("%s: %w", p, err)
	}
	opened := &Opened{Vault: v, URL: p.URL, KeyFile: p.Key, Made: true}
	if fresh != "" {
		opened.KeyFile, opened.NewKey = o.Homes.KeyFile(v.ID()), true
		if err := os.Rename(fresh, opened.KeyFile); err != nil {
			return nil, fmt.Errorf("keep key of vault %s: %w", p, err)
		}
		if err := syncDir(filepath.Dir(opened.KeyFile)); err != nil {
			return nil, fmt.Errorf("keep key of vault %s: %w", p, err)
		}
	}
	return opened, nil
}

// OpenOrCreate opens the vault at a place, or makes it where there is none.
func (o Opener) OpenOrCreate(ctx context.Context, p Place) (*Opened, error) {
	v, err := o.Open(ctx, p)
	if err == nil || dr.KindOf(err) != dr.KindNotFound || (p.Key != "" && missing(p.Key)) {
		return v, err
	}
	return o.Create(ctx, p)
}

// vacant makes sure that a folder which becomes a vault holds nothing of somebody else's. What a vault that was not
// completed or is damaged leaves is the vault's to judge.
func (o Opener) vacant(p Place) error {
	dir, ok := registry.Folder(p.URL)
	if !ok || o.Store != nil {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return dr.WithHint(fmt.Errorf("make vault %s: %w", p, err), dr.KindInvalid, "choose a new or empty folder")
	}
	for _, e := range entries {
		switch e.Name() {
		case ".store", "g", "lost+found": // the last one is in a file system that was just made
		default:
			return dr.WithHint(fmt.Errorf("make vault %s: the folder is no vault, and not empty: there is %s", p, e.Name()), dr.KindConflict,
				"choose a new or empty folder, such as "+filepath.Join(dir, "vault"))
		}
	}
	return nil
}

func missing(file string) bool {
	_, err := os.Stat(file)
	return errors.Is(err, fs.ErrNotExist)
}

// Group finds the group that a person means: the named one, or the only one of the vault.
func (v *Opened) Group(ctx context.Context, name string) (string, error) {
	groups, err := v.Groups(ctx)
	if err != nil {
		return "", fmt.Errorf("list groups of vault %s: %w", v.Dir(), err)
	}
	if name != "" {
		for _, g := range groups {
			if g == name {
				return name, nil
			}
		}
		return "", dr.WithHint(fmt.Errorf("group %s: not in vault %s", name, v.Dir()), dr.KindNotFound, "see `understudy points list --vault "+v.Dir()+"`")
	}
	switch len(groups) {
	case 0:
		return "", dr.WithHint(fmt.Errorf("vault %s: nothing is in it yet", v.Dir()), dr.KindNotFound,
			"understudy protect FILE --vault "+v.Dir())
	case 1:
		return groups[0], nil
	}
	return "", dr.WithHint(fmt.Errorf("vault %s holds %d groups: %s", v.Dir(), len(groups), strings.Join(groups, ", ")), dr.KindInvalid, "choose one with --group NAME")
}

// Dir is the vault's place as a person writes it.
func (v *Opened) Dir() string { return Place{URL: v.URL}.String() }
