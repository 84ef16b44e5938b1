package preflight

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"
)

const (
	maxInitrd   = 512 << 20 // bytes of a file
	maxUnpacked = 2 << 30   // bytes of what it holds
)

// drivers looks for those that the platform needs: built into the kernel, in the initramfs, or, of a network, on the
// root file system.
func (l *linux) drivers() {
	if l.version == "" {
		l.add(CheckStorage, Unknown, l.byHand(), "there are no modules of a kernel below /lib/modules")
		return
	}
	dir := path.Join("lib/modules", l.version)
	builtin, loadable := modules(l.text(path.Join(dir, "modules.builtin"))), modules(l.text(path.Join(dir, "modules.dep")))
	early, err := l.initramfs()
	in := func(list []string, driver string) bool { return slices.Contains(list, driver) }
	judge := func(check string, drivers []string, late bool) {
		var absent, left, unseen []string
		for _, d := range drivers {
			switch {
			case in(builtin, d) || in(early, d) || late && in(loadable, d):
			case !in(loadable, d):
				absent = append(absent, d)
			case err != nil:
				unseen = append(unseen, d)
			default:
				left = append(left, d)
			}
		}
		all := strings.Join(drivers, ", ")
		switch {
		case len(absent) > 0:
			l.add(check, Failure, "install a kernel with them: the distribution's usual one has all", "kernel %s has no %s, which %s needs", l.version, strings.Join(absent, ", "), l.p.Hardware)
		case len(left) > 0:
			l.add(check, Failure, l.addDrivers(), "not in the initramfs of kernel %s: %s, which %s needs", l.version, strings.Join(left, ", "), l.p.Hardware)
		case len(unseen) > 0:
			l.add(check, Unknown, "look in the guest: lsinitrd or lsinitramfs lists "+all, "the initramfs of kernel %s cannot be read: %v", l.version, err)
		default:
			l.add(check, OK, "", "kernel %s has %s", l.version, all)
		}
	}
	judge(CheckStorage, l.p.Storage, false)
	judge(CheckNetwork, l.p.Network, true)
}

// addDrivers is how an initramfs gets drivers.
func (l *linux) addDrivers() string {
	all := strings.Join(l.p.Storage, " ")
	switch {
	case l.redHat():
		return fmt.Sprintf("dracut --force --regenerate-all --add-drivers '%s'", all)
	case l.is("alpine"):
		return fmt.Sprintf("echo 'kernel/drivers/%s' >> /etc/mkinitfs/features.d/other.modules; add other to features in /etc/mkinitfs/mkinitfs.conf; mkinitfs",
			map[bool]string{true: "hv/*", false: "virtio/*"}[slices.Contains(l.p.Storage, "hv_vmbus")])
	case l.is("arch"):
		return fmt.Sprintf("in /etc/mkinitcpio.conf: MODULES=(%s); mkinitcpio -P", all)
	}
	return fmt.Sprintf("printf '%%s\\n' %s >> /etc/initramfs-tools/modules; update-initramfs -u -k all", all)
}

// modules are the names in a list of files of modules, one at the beginning of each line.
func modules(text string) (out []string) {
	for line := range strings.Lines(text) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), ":")
		if m := moduleName(name); m != "" {
			out = append(out, m)
		}
	}
	return out
}

func moduleName(file string) string {
	base, _, ok := strings.Cut(path.Base(file), ".ko")
	if !ok {
		return ""
	}
	return strings.ReplaceAll(base, "-", "_")
}

// initramfs lists the modules in the initramfs of the kernel that is started.
func (l *linux) initramfs() ([]string, error) {
	names := []string{l.entry.initrd}
	if l.entry.initrd == "" {
		if l.entry.kernel != "" {
			return nil, nil // the loader gives it none
		}
		names = []string{"initrd.img-" + l.version, "initramfs-" + l.version + ".img", "initrd-" + l.version}
	}
	var data []byte
	err := errors.New("it is not found")
	for _, name := range names {
		if data, err = l.boot(name, maxInitrd); err == nil {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	var out []string
	err = archived(data, func(name string) {
		if m := moduleName(name); m != "" {
			out = append(out, m)
		}
	})
	return out, err
}

// archived calls fn for the names in an initramfs: cpio archives one after another, of which the last may be compressed.
func archived(data []byte, fn func(name string)) error {
	for {
		data = bytes.TrimLeft(data, "\x00")
		switch {
		case len(data) == 0:
			return nil
		case bytes.HasPrefix(data, []byte("0707")):
			r := bytes.NewReader(data)
			if err := cpio(r, fn); err != nil {
				return err
			}
			data = data[len(data)-r.Len():]
		case bytes.HasPrefix(data, []byte{0x1f, 0x8b}):
			z, err := gzip.NewReader(bytes.NewReader(data))
			if err != nil {
				return err
			}
			return cpio(io.LimitReader(z, maxUnpacked), fn)
		case bytes.HasPrefix(data, []byte{0x28, 0xb5, 0x2f, 0xfd}):
			z, err := zstd.NewReader(bytes.NewReader(data), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20))
			if err != nil {
				return err
			}
			defer z.Close()
			return cpio(io.LimitReader(z, maxUnpacked), fn)
		default:
			return fmt.Errorf("it is compressed in a way that is not read here (%x)", data[:min(4, len(data))])
		}
	}
}

// cpio calls fn for the names of an archive in the "newc" format, up to its trailer:
// https://docs.kernel.org/driver-api/early-userspace/buffer-format.html
func cpio(r io.Reader, fn func(name string)) error {
	header := make([]byte, 110)
	for {
		if _, err := io.ReadFull(r, header); err != nil {
			return fmt.Errorf("read an archive: %w", err)
		}
		size, err := strconv.ParseInt(string(header[54:62]), 16, 64)
		if err != nil || !bytes.HasPrefix(header, []byte("0707")) {
			return errors.New("it is no archive")
		}
		length, err := strconv.ParseInt(string(header[94:102]), 16, 64)
		if err != nil || length < 1 || length > 4096 {
			return errors.New("it is no archive")
		}
		name := make([]byte, length+pad(110+length))
		if _, err := io.ReadFull(r, name); err != nil {
			return fmt.Errorf("read an archive: %w", err)
		}
		text := string(name[:length-1])
		if text == "TRAILER!!!" {
			return nil
		}
		fn(text)
		if _, err := io.CopyN(io.Discard, r, size+pad(size)); err != nil {
			return fmt.Errorf("read an archive: %w", err)
		}
	}
}

// pad is how many bytes follow n bytes, up to a multiple of four.
func pad(n int64) int64 { return (4 - n%4) % 4 }
