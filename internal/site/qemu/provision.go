package qemu

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"

	"understudy/internal/dr"
	"understudy/internal/site"
)

// reconnectDelay is how many seconds a machine's disk waits for a source that went away (a controller that restarts)
// before its guest sees errors.
const reconnectDelay = 300

// openTimeout is how many seconds a start waits for a source that is not there yet.
const openTimeout = 3

func (d *Driver) diskDir(name string) string { return filepath.Join(d.cfg.Dir, "disks", name) }

// markerPath is the file that says that a folder of disks belongs to Provision.
func (d *Driver) markerPath(name string) string {
	return filepath.Join(d.diskDir(name), "provision.json")
}

// Provision creates a machine whose disks are overlays over their sources, so that it can be started at once. The
// definition is written last: until then the machine does not exist, and the next call begins anew. A call that differs
// only in its sources points the disks of the stopped machine to the new ones.
func (d *Driver) Provision(ctx context.Context, req site.ProvisionRequest) error {
	name := req.Machine.Name
	if err := checkRequest(req); err != nil {
		return dr.WithHint(fmt.Errorf("provision: %w", err), dr.KindInvalid, "mend the machine's description")
	}
	m := d.handle(name)
	unlock, err := m.lockNow(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	owned, err := readProvisioned(d.definitionPath(name))
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return err
	case owned == nil:
		return dr.WithHint(fmt.Errorf("provision %s: the site has a machine of that name which Understudy did not create", name), dr.KindConflict,
			"recover under another name, or move "+d.definitionPath(name)+" away")
	case owned.Request != requestDigest(req):
		return dr.WithHint(fmt.Errorf("provision %s: the machine exists, made for run %s of another request", name, owned.Owner), dr.KindConflict,
			"clean that run up first: understudy cleanup")
	default:
		return m.repoint(ctx, req)
	}
	if err := d.provision(ctx, req); err != nil {
		_ = os.RemoveAll(d.diskDir(name))
		return fmt.Errorf("provision %s: %w", name, err)
	}
	return nil
}

func checkRequest(req site.ProvisionRequest) error {
	m := req.Machine
	if err := checkName(m.Name); err != nil {
		return err
	}
	if n := len(m.NICs); n > maxNICs {
		return fmt.Errorf("machine %s: %s", m.Name, tooMany(n, maxNICs, "NICs"))
	}
	known, disks := map[string]bool{}, 0
	for _, k := range m.Disks {
		if k.Role == dr.RoleDisk {
			disks++
		}
		if err := checkName(k.Name); err != nil {
			return fmt.Errorf("machine %s: disk: %w", m.Name, err)
		}
		known[k.Name] = true
		switch {
		case k.Size <= 0:
			return fmt.Errorf("machine %s: disk %s: size %d", m.Name, k.Name, k.Size)
		case req.Sources[k.Name] == "" && k.Role == dr.RoleDisk && k.Format != "" && k.Format != "raw" && k.Format != "qcow2":
			return fmt.Errorf("machine %s: disk %s: format %q: this site makes raw and qcow2", m.Name, k.Name, k.Format)
		}
	}
	if disks > maxDisks {
		return fmt.Errorf("machine %s: %s", m.Name, tooMany(disks, maxDisks, "disks"))
	}
	for disk, uri := range req.Sources {
		if !known[disk] {
			return fmt.Errorf("machine %s: a source for disk %s, which it does not have", m.Name, disk)
		}
		if _, err := backing(uri); err != nil {
			return fmt.Errorf("machine %s: disk %s: %w", m.Name, disk, err)
		}
	}
	return nil
}

// requestDigest tells requests apart by what a machine becomes of them: not by where its sources are served, nor by
// what was only observed.
func requestDigest(req site.ProvisionRequest) string {
	m := cloneMachine(req.Machine)
	m.Power, m.Provider, m.Owner, m.Extensions = "", "", "", nil
	for i := range m.Disks {
		m.Disks[i].Path, m.Disks[i].Format = "", ""
	}
	b, _ := json.Marshal(m)
	return digest(string(b), req.Isolation, req.Owner)
}

// readProvisioned reads for whom a machine was made, nil for one that a person wrote. It does not mind disks that are
// missing.
func readProvisioned(path string) (*provisioned, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var f struct {
		Provisioned *provisioned `yaml:"provisioned"`
	}
	if err := yaml.Unmarshal(b, &f); err != nil {
		return nil, yamlError(path, err)
	}
	return f.Provisioned, nil
}

func (d *Driver) provision(ctx context.Context, req site.ProvisionRequest) error {
	dir := d.diskDir(req.Machine.Name)
	if err := errors.Join(os.RemoveAll(dir), os.RemoveAll(d.keptDir(req.Machine.Name))); err != nil {
		return err
	}
	if err := writeJSON(d.markerPath(req.Machine.Name), provisioned{Owner: req.Owner, Request: requestDigest(req)}); err != nil {
		return err
	}
	m := req.Machine
	f := fileDef{
		Name: m.Name, CPUs: m.CPUs, Agent: m.Agent, Tags: m.Tags, Isolation: req.Isolation,
		Boot:        fileBoot{Firmware: m.Boot.Firmware, Cmdline: m.Boot.Cmdline},
		Provisioned: &provisioned{Owner: req.Owner, Request: requestDigest(req)},
	}
	if m.MemoryMiB > 0 {
		f.Memory = strconv.Itoa(m.MemoryMiB) + "MiB"
	}
	for _, k := range m.Disks {
		format := "qcow2"
		if req.Sources[k.Name] == "" && k.Format == "raw" {
			format = "raw"
		}
		file := k.Name + "." + format
		if k.Role != dr.RoleDisk {
			file = string(k.Role)
		}
		if err := d.makeDisk(ctx, filepath.Join(dir, file), k, req.Sources[k.Name]); err != nil {
			return fmt.Errorf("disk %s: %w", k.Name, err)
		}
		rel := filepath.Join("..", "disks", m.Name, file)
		switch k.Role {
		case dr.RoleKernel:
			f.Boot.Kernel, f.Boot.Firmware = rel, ""
		case dr.RoleInitrd:
			f.Boot.Initrd = rel
		default:
			f.Disks = append(f.Disks, fileDisk{Name: k.Name, Path: rel, Format: format})
		}
	}
	for _, n := range m.NICs {
		out := fileNIC{Network: n.Network, MAC: n.MAC}
		for _, w := range n.Forwards {
			port := w.HostPort
			if req.Isolation != "" {
				port = 0 // the original may be running on this host
			}
			out.Forwards = append(out.Forwards, fileForward{HostPort: port, GuestPort: w.GuestPort})
		}
		f.NICs = append(f.NICs, out)
	}
	if err := syncDir(dir); err != nil {
		return err
	}
	b, err := yaml.Marshal(f)
	if err != nil {
		return err
	}
	path := d.definitionPath(m.Name)
	if _, err := parseDefinition(path, b); err != nil {
		return err
	}
	return writeFile(path, b)
}

// makeDisk creates one disk: an overlay over its source, a copy of what the hypervisor itself reads, or an empty disk in the
// format that the path ends in.
func (d *Driver) makeDisk(ctx context.Context, path string, k dr.Disk, source string) error {
	var err error
	switch {
	case source == "" && (k.Role != dr.RoleDisk || filepath.Ext(path) == ".raw"):
		// Of zeros, until somebody writes it.
		if err = os.WriteFile(path, nil, 0o600); err == nil {
			err = os.Truncate(path, k.Size)
		}
	case k.Role != dr.RoleDisk:
		if err = d.image(ctx, nil, "convert", "-t", "writeback", "-f", "raw", "-O", "raw", source, path); err == nil {
			err = os.Truncate(path, k.Size) // the source is padded to whole blocks
		}
	case source != "":
		var over string
		if over, err = backing(source); err == nil {
			// -u: the source is not contacted before the machine starts.
			err = d.image(ctx, nil, "create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", over, path, strconv.FormatInt(sectors(k.Size), 10))
		}
	default:
		err = d.image(ctx, nil, "create", "-q", "-f", "qcow2", path, strconv.FormatInt(sectors(k.Size), 10))
	}
	if err != nil {
		return err
	}
	return syncFile(path)
}

// sectors rounds a size up to what a guest can see of a disk.
func sectors(n int64) int64 { return (n + 511) &^ 511 }

// repoint makes the disks of a provisioned machine read from the sources of the request, where they still need one.
func (m *machine) repoint(ctx context.Context, req site.ProvisionRequest) error {
	if err := m.load(); err != nil {
		return err
	}
	if m.running() {
		return nil
	}
	for _, k := range m.def().Disks {
		source := req.Sources[k.Name]
		if k.Role != dr.RoleDisk || source == "" || m.layered(k.Name) {
			continue
		}
		img, err := readImage(k.Path, k.Format)
		if err != nil {
			return err
		}
		want, err := backing(source)
		if err != nil {
			return err
		}
		if img.Backing == "" || img.Backing == want {
			continue
		}
		if err := m.d.image(ctx, nil, "rebase", "-u", "-f", "qcow2", "-F", "raw", "-b", want, k.Path); err != nil {
			return fmt.Errorf("machine %s: disk %s: %w", m.name, k.Name, err)
		}
	}
	return nil
}

// backing turns an NBD URI (https://github.com/NetworkBlockDevice/nbd/blob/master/doc/uri.md) into the name of a
// backing file, which unlike the URI can say that a lost connection is made again.
func backing(uri string) (string, error) {
	u, err := url.Parse(uri)
	if err != nil {
		return "", fmt.Errorf("source: %w", err)
	}
	node := map[string]any{"driver": "nbd", "export": strings.TrimPrefix(u.Path, "/"), "reconnect-delay": reconnectDelay, "open-timeout": openTimeout}
	switch u.Scheme {
	case "nbd+unix":
		socket := u.Query().Get("socket")
		if !filepath.IsAbs(socket) {
			return "", fmt.Errorf("source %s: no absolute socket path", uri)
		}
		node["server"] = map[string]any{"type": "unix", "path": socket}
	case "nbd":
		port := u.Port()
		if port == "" {
			port = "10809"
		}
		node["server"] = map[string]any{"type": "inet", "host": u.Hostname(), "port": port}
	default:
		return "", fmt.Errorf("source %s: use nbd+unix:///EXPORT?socket=PATH or nbd://HOST:PORT/EXPORT", uri)
	}
	b, err := json.Marshal(map[string]any{"driver": "raw", "file": node})
	if err != nil {
		return "", err
	}
	if len(b) > 1000 {
		return "", fmt.Errorf("source %s: too long for an image header", uri)
	}
	return "json:" + string(b), nil
}

// image runs qemu-img. Its error is what the tool said. Standard output goes to the function when there is one.
func (d *Driver) image(ctx context.Context, output func([]byte), args ...string) error {
	cmd := exec.CommandContext(ctx, d.cfg.ImageTool, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if output != nil {
		cmd.Stdout = writerFunc(output)
	}
	err := cmd.Run()
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, exec.ErrNotFound):
		return dr.WithHint(err, dr.KindUnavailable, "apt-get install qemu-utils")
	}
	return dr.WithHint(fmt.Errorf("%s %s: %w: %s", d.cfg.ImageTool, args[0], err, lastLines(stderr.String(), 2)), dr.KindUnavailable,
		"see that the source is served and that the disk has space")
}

type writerFunc func([]byte)

func (f writerFunc) Write(p []byte) (int, error) { f(p); return len(p), nil }

// Delete removes a machine that Provision created, or the remains of one that was being created or deleted.
func (d *Driver) Delete(ctx context.Context, name string) error {
	if checkName(name) != nil {
		return nil // no machine has such a name
	}
	owned, err := readProvisioned(d.definitionPath(name))
	missing := errors.Is(err, os.ErrNotExist)
	if err != nil && !missing {
		return fmt.Errorf("delete %s: %w", name, err)
	}
	if !missing && owned == nil {
		return dr.WithHint(fmt.Errorf("delete %s: Understudy did not create it", name), dr.KindConflict, "remove it by hand if that is meant")
	}
	if _, err := os.Stat(d.markerPath(name)); missing && err != nil {
		return nil
	}
	m := d.handle(name)
	unlock, err := m.lockNow(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := m.unopened(ctx, "delete", everyone); err != nil {
		return err
	}
	if err := m.kill("deleted"); err != nil {
		return fmt.Errorf("delete %s: %w", name, err)
	}
	// The definition goes first: what is left after a crash is no machine, and the marker goes with the last of it.
	if err := os.Remove(d.definitionPath(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("delete %s: %w", name, err)
	}
	if err := syncDir(filepath.Join(d.cfg.Dir, "machines")); err != nil {
		return fmt.Errorf("delete %s: %w", name, err)
	}
	for _, path := range []string{m.dir(), m.holdPath(), d.keptDir(name), d.diskDir(name)} {
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("delete %s: %w", name, err)
		}
	}
	return nil
}
