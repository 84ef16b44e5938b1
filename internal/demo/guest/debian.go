package guest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"understudy/internal/dr"
)

// kernelPackage is Debian's small kernel for virtual machines; it depends on the package of the current version.
const kernelPackage = "linux-image-cloud-amd64"

// programs are the packages whose programs go into the guest; their libraries follow from their dependencies.
var programs = []string{"busybox-static", "qemu-guest-agent", "e2fsprogs"}

// parts are unpacked packages.
type parts struct {
	root    string // everything lies here under its path in Debian
	kernel  string
	modules string // folder of the kernel's modules
}

// fetch downloads what cache does not hold yet and unpacks everything below root.
func fetch(ctx context.Context, cache, root string, w io.Writer) (parts, error) {
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return parts{}, err
	}
	for _, tool := range []string{"apt-get", "apt-cache", "dpkg-deb"} {
		if _, err := exec.LookPath(tool); err != nil {
			return parts{}, dr.WithHint(err, dr.KindUnavailable, "the guest is made of Debian packages: build it on Debian")
		}
	}
	names, err := resolve(ctx)
	if err != nil {
		return parts{}, err
	}
	fmt.Fprintf(w, "guest: download %d Debian packages (about 35 MB)\n", len(names))
	if err := download(ctx, cache, names); err != nil {
		return parts{}, err
	}
	for _, name := range names {
		deb, err := newestPackage(cache, name)
		if err != nil {
			return parts{}, err
		}
		if err := run(exec.CommandContext(ctx, "dpkg-deb", "-x", deb, root)); err != nil {
			return parts{}, fmt.Errorf("unpack %s: %w", deb, err)
		}
	}
	return findKernel(root)
}

func findKernel(root string) (parts, error) {
	p := parts{root: root}
	kernels, err := filepath.Glob(filepath.Join(root, "boot/vmlinuz-*"))
	if err != nil || len(kernels) != 1 {
		return p, fmt.Errorf("want one kernel in the packages, found %v", kernels)
	}
	p.kernel = kernels[0]
	version := strings.TrimPrefix(filepath.Base(p.kernel), "vmlinuz-")
	for _, lib := range []string{"lib/modules", "usr/lib/modules"} {
		if dir := filepath.Join(root, lib, version); isDir(dir) {
			p.modules = dir
			return p, nil
		}
	}
	return p, fmt.Errorf("no modules for kernel %s in the packages", version)
}

func isDir(name string) bool {
	st, err := os.Stat(name)
	return err == nil && st.IsDir()
}

var (
	dependsLine = regexp.MustCompile(`(?m)^Depends: (linux-image-\S+)`)
	library     = regexp.MustCompile(`^lib[a-z0-9][a-z0-9.+-]*$`)
	// not libraries that a program of the guest is linked to, and large
	needless = regexp.MustCompile(`perl|libdb5|libgdbm`)
)

// resolve asks apt for the packages that the guest is made from.
func resolve(ctx context.Context) ([]string, error) {
	out, err := apt(ctx, "apt-cache", "show", "--no-all-versions", kernelPackage)
	if err != nil {
		return nil, err
	}
	m := dependsLine.FindStringSubmatch(out)
	if m == nil {
		return nil, needApt(fmt.Errorf("package %s depends on no kernel", kernelPackage))
	}
	names := append([]string{m[1]}, programs...)
	out, err = apt(ctx, "apt-cache", append([]string{"depends", "--recurse", "--no-recommends", "--no-suggests", "--no-conflicts",
		"--no-breaks", "--no-replaces", "--no-enhances"}, programs...)...)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(out) {
		name := strings.TrimSpace(line)
		if library.MatchString(line[:len(line)-1]) && !needless.MatchString(name) && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names, nil
}

// download has apt-get verify and store packages in the cache; apt-get skips what is there already.
func download(ctx context.Context, cache string, names []string) error {
	cmd := exec.CommandContext(ctx, "apt-get", append([]string{"-q", "-o", "APT::Sandbox::User=root", "download"}, names...)...)
	cmd.Dir = cache
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	if err := run(cmd); err != nil {
		return needApt(err)
	}
	return nil
}

// newestPackage finds the file of a package that was downloaded last: an older version may lie beside it.
func newestPackage(cache, name string) (string, error) {
	files, err := filepath.Glob(filepath.Join(cache, name+"_*.deb"))
	if err != nil {
		return "", err
	}
	best, bestTime := "", int64(-1)
	for _, f := range files {
		st, err := os.Stat(f)
		if err != nil {
			return "", err
		}
		if t := st.ModTime().UnixNano(); t > bestTime {
			best, bestTime = f, t
		}
	}
	if best == "" {
		return "", fmt.Errorf("package %s was not downloaded", name)
	}
	return best, nil
}

func apt(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
		}
		return "", needApt(fmt.Errorf("%s %s: %w", name, args[0], err))
	}
	return string(out), nil
}

func needApt(err error) error {
	return dr.WithHint(err, dr.KindUnavailable, "apt may have no package lists yet: sudo apt-get update")
}
