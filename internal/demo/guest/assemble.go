package guest

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// modules are loaded in this order, each after those that it depends on. What the kernel has built in is left out.
var modules = []string{"virtio_pci", "virtio_blk", "virtio_net", "virtio_console", "virtio_rng", "crc32c_generic", "ext4", "button", "evdev"}

// binaries of Debian, each with the libraries that it is linked to.
var binaries = map[string]string{
	"bin/qemu-ga":  "usr/sbin/qemu-ga",
	"sbin/mke2fs":  "sbin/mke2fs",
	"sbin/e2fsck":  "sbin/e2fsck",
	"sbin/e2label": "sbin/e2label",
}

// applets of busybox that init.sh and people at the guest agent use.
var applets = strings.Fields(`acpid ash awk blkid cat chmod cmp cp cut date dd df dmesg du echo env false findfs fsync grep
	halt head hexdump hostname httpd id insmod ip kill ln ls md5sum mkdir mknod mount mv nc netstat nslookup od ping pidof
	printf ps pwd rm rmdir sed seq sh sha256sum sleep sort stat sync tail tar tee test time top touch tr true umount uname
	uptime vi wc wget which xargs`)

const mke2fsConf = `[defaults]
	base_features = sparse_super,large_file,filetype,resize_inode,dir_index,ext_attr
	blocksize = 4096
	inode_size = 256
	inode_ratio = 16384
[fs_types]
	ext4 = {
		features = has_journal,extent,huge_file,flex_bg,metadata_csum,64bit,dir_nlink,extra_isize
	}
	floppy = {
	}
	small = {
	}
	big = {
	}
	huge = {
	}
`

// assemble puts the initial RAM disk together.
func assemble(ctx context.Context, p parts, program string) (tree, error) {
	t := tree{}
	for _, dir := range []string{"proc", "sys", "dev", "run", "tmp", "data", "etc", "root", "var/log"} {
		t.dir(dir)
	}
	t.link("var/run", "../run")
	t.device("dev/console", 5, 1)
	t.device("dev/null", 1, 3)
	t.file("etc/passwd", 0o644, []byte("root::0:0:root:/:/bin/sh\n"))
	t.file("etc/group", 0o644, []byte("root:x:0:\n"))
	t.file("etc/mke2fs.conf", 0o644, []byte(mke2fsConf))
	for name, source := range map[string]string{"init": "init.sh", "sbin/shutdown": "shutdown.sh"} {
		b, err := inputs.ReadFile(source)
		if err != nil {
			return nil, err
		}
		t.file(name, 0o755, b)
	}
	t.link("sbin/poweroff", "shutdown")
	t.link("sbin/reboot", "shutdown")
	t.link("etc/acpi/PWRF/00000080", "/sbin/shutdown")
	b, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	t.file("bin/shop", 0o755, b)
	t.link("bin/metrics-agent", "shop")
	if b, err = readPart(p.root, "bin/busybox"); err != nil {
		return nil, err
	}
	t.file("bin/busybox", 0o755, b)
	for _, name := range applets {
		t.link("bin/"+name, "busybox")
	}
	for name, source := range binaries {
		if err := addBinary(t, p.root, name, source); err != nil {
			return nil, err
		}
	}
	return t, addModules(ctx, t, p.modules)
}

// readPart reads a file of the unpacked packages, wherever the release has moved it: /usr may or may not be merged.
func readPart(root, name string) ([]byte, error) {
	b, err := os.ReadFile(filepath.Join(root, name))
	if !errors.Is(err, fs.ErrNotExist) {
		return b, err
	}
	if rest, ok := strings.CutPrefix(name, "usr/"); ok {
		return os.ReadFile(filepath.Join(root, rest))
	}
	return os.ReadFile(filepath.Join(root, "usr", name))
}

// addBinary adds a program, its loader and all its libraries.
func addBinary(t tree, root, name, source string) error {
	b, err := readPart(root, source)
	if err != nil {
		return err
	}
	t.file(name, 0o755, b)
	f, err := elf.NewFile(strings.NewReader(string(b)))
	if err != nil {
		return fmt.Errorf("%s: %w", source, err)
	}
	defer f.Close()
	if interp := f.Section(".interp"); interp != nil {
		loader, err := interp.Data()
		if err != nil {
			return fmt.Errorf("%s: %w", source, err)
		}
		to := strings.TrimLeft(strings.TrimRight(string(loader), "\x00"), "/")
		if err := addLibrary(t, root, to, path.Base(to)); err != nil {
			return err
		}
	}
	needed, err := f.ImportedLibraries()
	if err != nil {
		return fmt.Errorf("%s: %w", source, err)
	}
	for _, lib := range needed {
		if err := addLibrary(t, root, "lib/x86_64-linux-gnu/"+lib, lib); err != nil {
			return fmt.Errorf("%s: %w", source, err)
		}
	}
	return nil
}

func addLibrary(t tree, root, to, lib string) error {
	if _, ok := t[to]; ok {
		return nil
	}
	for _, dir := range []string{"lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"} {
		if _, err := os.Stat(filepath.Join(root, dir, lib)); err == nil {
			return addBinary(t, root, to, path.Join(dir, lib))
		}
	}
	return fmt.Errorf("library %s is in none of the packages", lib)
}

// addModules adds modules with what they depend on, and lib/modules/order, which lists them so that each can be inserted
// after those before it. Dependencies are read from the modules: a kernel package that was not installed has no modules.dep.
func addModules(ctx context.Context, t tree, dir string) error {
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if base, _, ok := strings.Cut(d.Name(), ".ko"); ok && !d.IsDir() {
			files[strings.ReplaceAll(base, "-", "_")] = name
		}
		return err
	})
	if err != nil {
		return err
	}
	var order strings.Builder
	var add func(name string) error
	add = func(name string) error {
		to := "lib/modules/" + name + ".ko"
		file, ok := files[name]
		if _, done := t[to]; done || !ok {
			return nil
		}
		b, err := readModule(ctx, file)
		if err != nil {
			return fmt.Errorf("module %s: %w", name, err)
		}
		depends, err := moduleDepends(b)
		if err != nil {
			return fmt.Errorf("module %s: %w", name, err)
		}
		for _, dep := range depends {
			if err := add(strings.ReplaceAll(dep, "-", "_")); err != nil {
				return err
			}
		}
		t.file(to, 0o644, b)
		order.WriteString("/" + to + "\n")
		return nil
	}
	for _, name := range modules {
		if err := add(name); err != nil {
			return err
		}
	}
	if _, ok := t["lib/modules/virtio_blk.ko"]; !ok {
		return errors.New("the kernel package has no virtio_blk module")
	}
	t.file("lib/modules/order", 0o644, []byte(order.String()))
	return nil
}

func readModule(ctx context.Context, file string) ([]byte, error) {
	if strings.HasSuffix(file, ".xz") {
		return exec.CommandContext(ctx, "xz", "-dc", file).Output()
	}
	return os.ReadFile(file)
}

func moduleDepends(b []byte) ([]string, error) {
	f, err := elf.NewFile(strings.NewReader(string(b)))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info := f.Section(".modinfo")
	if info == nil {
		return nil, errors.New("no .modinfo section")
	}
	data, err := info.Data()
	if err != nil {
		return nil, err
	}
	for field := range strings.SplitSeq(string(data), "\x00") {
		if list, ok := strings.CutPrefix(field, "depends="); ok && list != "" {
			return strings.Split(list, ","), nil
		}
	}
	return nil, nil
}
