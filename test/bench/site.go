package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"filippo.io/age"

	"understudy/internal/dr"
	"understudy/internal/replicate"
	"understudy/internal/site"
	"understudy/internal/site/qemu"
	"understudy/internal/vault"
	"understudy/internal/vault/blob/file"
)

// loop replicates a group, in-process, to a vault in files.
type loop struct {
	vault  *vault.Vault
	cycler *replicate.Cycler
	lease  *vault.Lease
	group  dr.Group
}

// rig is a QEMU site with one machine, replicated.
type rig struct {
	loop
	driver *qemu.Driver
}

// newRig makes a site in dir with the machine that the definition (YAML) describes.
func newRig(ctx context.Context, dir, definition string) (*rig, error) {
	machines := filepath.Join(dir, "site", "machines")
	if err := os.MkdirAll(machines, 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(machines, "m.yaml"), []byte(definition), 0o644); err != nil {
		return nil, err
	}
	log := slog.New(slog.DiscardHandler)
	driver, err := qemu.New(qemu.Config{Dir: filepath.Join(dir, "site"), Logger: log})
	if err != nil {
		return nil, err
	}
	l, err := newLoop(ctx, dir, driver, dr.Group{Name: "g", Site: "bench", Machines: []dr.MachinePolicy{{Name: "m"}}}, log)
	if err != nil {
		return nil, err
	}
	return &rig{l, driver}, nil
}

// newLoop makes a vault in dir and what replicates a group of a site to it.
func newLoop(ctx context.Context, dir string, driver site.Driver, group dr.Group, log *slog.Logger) (l loop, err error) {
	store, err := file.Open(filepath.Join(dir, "vault"), true)
	if err != nil {
		return l, err
	}
	key, err := age.GenerateX25519Identity()
	if err != nil {
		return l, err
	}
	if err := vault.Create(ctx, store, vault.CreateOptions{Recipients: []string{key.Recipient().String()}}); err != nil {
		return l, err
	}
	v, err := vault.Open(ctx, store, vault.Options{Identities: []age.Identity{key}, Now: time.Now, Logger: log})
	if err != nil {
		return l, err
	}
	lease, err := v.Acquire(ctx, group.Name, group.Site, "bench", time.Hour)
	if err != nil {
		return l, err
	}
	return loop{vault: v, lease: lease, group: group,
		cycler: &replicate.Cycler{Driver: driver, Vault: v, Dir: filepath.Join(dir, "state"), Now: time.Now, Logger: log}}, nil
}

func (r *loop) cycle(ctx context.Context) (replicate.Result, error) {
	return r.cycler.Cycle(ctx, r.lease, r.group, replicate.CycleOptions{})
}

// stop ends the machine and everything the site runs for it.
func (r *rig) stop(ctx context.Context, names ...string) {
	for _, name := range names {
		if err := r.driver.Power(context.WithoutCancel(ctx), name, site.PowerKill); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
	}
	r.driver.Close()
}
