package preflight

import (
	"cmp"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// An entry is what a boot loader starts when nobody chooses.
type entry struct {
	kernel, initrd string // names of files in the boot folder
	cmdline        string
}

func (e entry) arguments() []string { return strings.Fields(e.cmdline) }

func (e entry) argument(name string) (value string) {
	for _, a := range e.arguments() {
		if v, ok := strings.CutPrefix(a, name+"="); ok {
			value = v // the last one counts
		}
	}
	return value
}

// boot reads a file of the boot folder, which may be a file system of its own.
func (l *linux) boot(name string, limit int64) ([]byte, error) {
	data, err := l.root.fs.ReadFile(path.Join("boot", name), limit)
	if !errors.Is(err, fs.ErrNotExist) {
		return data, err
	}
	for _, v := range l.all {
		if v.fs != nil && v.fs != l.root.fs {
			if data, err := v.fs.ReadFile(name, limit); !errors.Is(err, fs.ErrNotExist) {
				return data, err
			}
		}
	}
	return nil, err
}

// bootList lists a folder below the boot folder.
func (l *linux) bootList(name string) (out []string) {
	out, _ = l.root.fs.ReadDir(path.Join("boot", name)) // may be elsewhere
	for _, v := range l.all {
		if v.fs != nil && v.fs != l.root.fs && len(out) == 0 {
			out, _ = v.fs.ReadDir(name) // may be elsewhere
		}
	}
	slices.SortFunc(out, compareVersions)
	return out
}

// bootEntry reads the configuration of the boot loader.
func (l *linux) bootEntry() (entry, bool) {
	// Fedora and its kin have one file for each kernel; grub.cfg only includes them.
	list := slices.DeleteFunc(l.bootList("loader/entries"), func(n string) bool { return !strings.HasSuffix(n, ".conf") || strings.Contains(n, "rescue") })
	if len(list) > 0 {
		if text, err := l.boot(path.Join("loader/entries", list[len(list)-1]), maxText); err == nil {
			e := parseEntry(string(text), "linux", "initrd", "options")
			if strings.Contains(e.cmdline, "$kernelopts") {
				env, _ := l.boot("grub2/grubenv", maxText) // without it nothing replaces the variable
				for line := range strings.Lines(string(env)) {
					if v, ok := strings.CutPrefix(strings.TrimSpace(line), "kernelopts="); ok {
						e.cmdline = strings.ReplaceAll(e.cmdline, "$kernelopts", v)
					}
				}
			}
			if e.kernel != "" {
				return e, true
			}
		}
	}
	for _, name := range []string{"grub/grub.cfg", "grub2/grub.cfg"} {
		if text, err := l.boot(name, maxText); err == nil {
			if e := parseEntry(string(text), "linux", "initrd", ""); e.kernel != "" {
				return e, true
			}
		}
	}
	for _, name := range []string{"extlinux.conf", "extlinux/extlinux.conf", "syslinux/syslinux.cfg"} {
		if text, err := l.boot(name, maxText); err == nil {
			if e := parseEntry(string(text), "kernel", "initrd", "append"); e.kernel != "" {
				return e, true
			}
		}
	}
	return entry{}, false
}

// parseEntry reads the first entry of a configuration: words that name the kernel, the initramfs and, unless it follows
// the kernel, the command line.
func parseEntry(text, kernel, initrd, options string) (e entry) {
	for line := range strings.Lines(text) {
		w := strings.Fields(line)
		if len(w) < 2 {
			continue
		}
		switch word := strings.ToLower(w[0]); {
		case (word == kernel || kernel == "kernel" && word == "linux" || word == kernel+"16" || word == kernel+"efi") && e.kernel == "":
			e.kernel = path.Base(w[1])
			if options == "" {
				e.cmdline = strings.Join(w[2:], " ")
			}
		case (word == initrd || word == initrd+"16" || word == initrd+"efi") && e.initrd == "":
			w = slices.DeleteFunc(w, func(f string) bool { return strings.HasPrefix(f, "$") }) // variables of the loader
			e.initrd = path.Base(w[len(w)-1])                                                  // microcode comes before
		case word == options && e.cmdline == "":
			e.cmdline = strings.Join(w[1:], " ")
		case word == "menuentry" && e.kernel != "":
			return e
		}
	}
	return e
}

// kernelVersion is the name of the folder of the kernel's modules.
func (l *linux) kernelVersion() string {
	list := l.files("lib/modules", "")
	for i := range list {
		list[i] = path.Base(list[i])
	}
	if len(list) == 0 {
		return ""
	}
	slices.SortFunc(list, compareVersions)
	_, suffix, _ := strings.Cut(l.entry.kernel, "-")
	for _, v := range list {
		if v == suffix {
			return v
		}
	}
	for _, v := range slices.Backward(list) {
		if suffix != "" && strings.HasSuffix(v, "-"+suffix) {
			return v
		}
	}
	return list[len(list)-1]
}

// compareVersions orders names so that numbers in them count as numbers.
func compareVersions(a, b string) int {
	for a != "" && b != "" {
		x, restA := digits(a)
		y, restB := digits(b)
		if x == "" || y == "" {
			if a[0] != b[0] {
				return cmp.Compare(a[0], b[0])
			}
			a, b = a[1:], b[1:]
			continue
		}
		if c := cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y)); c != 0 {
			return c
		}
		a, b = restA, restB
	}
	return cmp.Compare(len(a), len(b))
}

func digits(t string) (number, rest string) {
	n := 0
	for n < len(t) && t[n] >= '0' && t[n] <= '9' {
		n++
	}
	return strings.TrimLeft(t[:n], "0"), t[n:]
}
