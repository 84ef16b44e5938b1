// Package image is a site whose machines are disk image files: raw, qcow2, VHD, VHDX and VMDK. It can be captured from
// and runs nothing. An image file has no change tracking, so every capture of a file that was touched reports that
// anything may have changed; a file that was not touched since the capture asked about reports that nothing did.
package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"understudy/internal/dr"
	"understudy/internal/site"
)

// Config describes an image site.
type Config struct {
	// Machines maps a machine's name to its disk image files, in order.
	Machines map[string][]string
	// Dir is where the site remembers what files looked like at a capture.
	Dir string
	// Now is the clock.
	Now func() time.Time
}

// Driver is an image site. It implements site.Driver.
type Driver struct {
	cfg Config
}

// New returns an image site. The files are looked at when they are used.
func New(cfg Config) (*Driver, error) {
	for name, files := range cfg.Machines {
		if len(files) == 0 {
			return nil, dr.WithHint(fmt.Errorf("machine %s: no disk image files", name), dr.KindInvalid, "name at least one image file")
		}
	}
	return &Driver{cfg: cfg}, nil
}

// formats maps what a file's name ends in to QEMU's name of the format. Content is not sniffed for these, since a
// guest can write any header into a raw disk.
var formats = map[string]string{
	".raw": "raw", ".img": "raw", ".qcow2": "qcow2", ".vhd": "vpc", ".vhdx": "vhdx", ".vmdk": "vmdk",
}

// info is what qemu-img tells of a file.
type info struct {
	File   string `json:"filename"`
	Format string `json:"format"`
	Size   int64  `json:"virtual-size"`

	Specific struct {
		Data struct {
			DataFile string `json:"data-file"`
			Extents  []struct {
				File string `json:"filename"`
			} `json:"extents"`
		} `json:"data"`
	} `json:"format-specific"`

	beside []string // the other files that the content lies in: backing files, and those that hold an image's data
}

// filesOf lists the other files of a chain of images, of which the first is the one that was asked about.
func filesOf(chain []info) []string {
	var files []string
	for i, in := range chain {
		if i > 0 {
			files = append(files, in.File)
		}
		if f := in.Specific.Data.DataFile; f != "" {
			if !filepath.IsAbs(f) {
				f = filepath.Join(filepath.Dir(in.File), f)
			}
			files = append(files, f)
		}
		for _, e := range in.Specific.Data.Extents {
			if e.File != in.File {
				files = append(files, e.File)
			}
		}
	}
	return files
}

func inspect(ctx context.Context, file string) (info, error) {
	st, err := os.Stat(file)
	if err != nil {
		return info{}, dr.WithHint(err, dr.KindNotFound, "check the file's name")
	}
	if st.IsDir() {
		return info{}, dr.WithHint(fmt.Errorf("%s is a folder", file), dr.KindInvalid, "name a disk image file")
	}
	format := formats[strings.ToLower(filepath.Ext(file))]
	if format == "raw" && st.Mode().IsRegular() {
		return info{Format: format, Size: st.Size()}, nil
	}
	args := []string{"info", "--output=json", "--force-share", "--backing-chain"}
	if format != "" {
		args = append(args, "-f", format)
	}
	out, err := exec.CommandContext(ctx, "qemu-img", append(args, file)...).Output()
	if err != nil {
		return info{}, toolError("qemu-img", file, err)
	}
	var chain []info
	if err := json.Unmarshal(out, &chain); err != nil {
		return info{}, fmt.Errorf("inspect %s: qemu-img: %w", file, err)
	}
	if len(chain) == 0 {
		return info{}, fmt.Errorf("inspect %s: qemu-img told nothing", file)
	}
	chain[0].beside = filesOf(chain)
	if chain[0].Format == "raw" && st.Mode().IsRegular() {
		chain[0].Size = st.Size() // what qemu-img says is rounded up to sectors
	}
	return chain[0], nil
}

// toolError explains why one of QEMU's tools failed on a file.
func toolError(tool, file string, err error) error {
	if errors.Is(err, exec.ErrNotFound) {
		return dr.WithHint(fmt.Errorf("read %s: %w", file, err), dr.KindUnavailable, "apt-get install qemu-utils")
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) && len(exit.Stderr) > 0 {
		text, _, _ := strings.Cut(strings.TrimSpace(string(exit.Stderr)), "\n")
		err = errors.New(text)
	}
	hint := "check that the file is a whole disk image of the format that its name says"
	if strings.Contains(err.Error(), "lock") {
		hint = "a machine is running on this file: protect it through a qemu site, or stop it first"
	}
	return dr.WithHint(fmt.Errorf("read %s with %s: %w", file, tool, err), dr.KindInvalid, hint)
}

// DiskName is the name of the disk in an image file: the file's name without what it ends in.
func DiskName(file string) string {
	base := filepath.Base(file)
	if _, known := formats[strings.ToLower(filepath.Ext(base))]; known {
		base = strings.TrimSuffix(base, filepath.Ext(base))
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_', r == '.':
			return r
		}
		return '-'
	}, base)
}

// describe tells of a machine, and of the other files that each of its image files needs.
func (d *Driver) describe(ctx context.Context, name string) (dr.Machine, map[string][]string, error) {
	files, ok := d.cfg.Machines[name]
	if !ok {
		return dr.Machine{}, nil, dr.WithHint(fmt.Errorf("machine %s: not one of this image site", name), dr.KindNotFound, "list its machines")
	}
	m := dr.Machine{Name: name, Provider: "image", Power: dr.PowerOff}
	beside := map[string][]string{}
	for _, file := range files {
		in, err := inspect(ctx, file)
		if err != nil {
			return dr.Machine{}, nil, fmt.Errorf("machine %s: %w", name, err)
		}
		abs, err := filepath.Abs(file)
		if err != nil {
			return dr.Machine{}, nil, err
		}
		disk := dr.Disk{Name: DiskName(file), Size: in.Size, Format: in.Format, Path: abs}
		if slices.ContainsFunc(m.Disks, func(o dr.Disk) bool { return o.Name == disk.Name }) {
			return dr.Machine{}, nil, dr.WithHint(fmt.Errorf("machine %s: two files would both be disk %s", name, disk.Name), dr.KindInvalid, "rename one of them")
		}
		m.Disks = append(m.Disks, disk)
		beside[abs] = in.beside
	}
	slices.SortFunc(m.Disks, func(a, b dr.Disk) int { return strings.Compare(a.Name, b.Name) })
	return m, beside, nil
}

// Machines lists the machines. A machine one of whose files cannot be read fails the call.
func (d *Driver) Machines(ctx context.Context) ([]dr.Machine, error) {
	var names []string
	for name := range d.cfg.Machines {
		names = append(names, name)
	}
	slices.Sort(names)
	machines := make([]dr.Machine, 0, len(names))
	for _, name := range names {
		m, _, err := d.describe(ctx, name)
		if err != nil {
			return nil, err
		}
		machines = append(machines, m)
	}
	return machines, nil
}

func refuse(machine string) error {
	return dr.WithHint(fmt.Errorf("machine %s: an image site holds files and runs nothing", machine), dr.KindConflict,
		"restore to a file with `understudy restore`, or recover to a qemu site")
}

// Provision is refused.
func (d *Driver) Provision(_ context.Context, req site.ProvisionRequest) error {
	return refuse(req.Machine.Name)
}

// Power is refused.
func (d *Driver) Power(_ context.Context, machine string, _ site.PowerAction) error {
	return refuse(machine)
}

// Hydrate is refused.
func (d *Driver) Hydrate(_ context.Context, machine string, _ func(done, total int64)) error {
	return refuse(machine)
}

// Probe is refused.
func (d *Driver) Probe(_ context.Context, machine string, _ dr.Probe) error { return refuse(machine) }

// Delete of a machine that is there is refused, since the site created none of its files.
func (d *Driver) Delete(_ context.Context, machine string) error {
	if _, there := d.cfg.Machines[machine]; !there {
		return nil
	}
	return refuse(machine)
}

// Fence needs no act: nothing of the site can start.
func (d *Driver) Fence(context.Context, string, bool, string) error { return nil }
