package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// corpus returns a raw image with an ext4 file system that is half full of real files of this machine: programs,
// libraries, sources, documentation. It is made once and kept.
func (b *bench) corpus(ctx context.Context) (string, error) {
	image := filepath.Join(b.cache, fmt.Sprintf("corpus-%dg.raw", b.sizeGiB))
	if _, err := os.Stat(image); err == nil {
		return image, nil
	}
	staging := filepath.Join(b.dir, "staging")
	defer os.RemoveAll(staging)
	want := b.sizeGiB << 29
	got, err := gather(ctx, staging, want)
	if err != nil {
		return "", err
	}
	if got < want*9/10 {
		fmt.Fprintf(os.Stderr, "bench: found only %d MiB of files for a corpus of %d MiB\n", got>>20, want>>20)
	}
	part := image + ".part"
	if err := os.WriteFile(part, nil, 0o644); err != nil {
		return "", err
	}
	if err := os.Truncate(part, b.sizeGiB<<30); err != nil {
		return "", err
	}
	if _, err := execute(ctx, nil, "mkfs.ext4", "-q", "-F", "-m0", "-E", "lazy_itable_init=1", "-d", staging, part); err != nil {
		return "", err
	}
	return image, os.Rename(part, image)
}

// gather copies regular files into dir until it has the bytes wanted.
func gather(ctx context.Context, dir string, want int64) (int64, error) {
	roots := []string{"/usr/lib", "/usr/bin", "/usr/share", "/usr/local"}
	if out, err := exec.CommandContext(ctx, "go", "env", "GOMODCACHE").Output(); err == nil {
		roots = append(roots, strings.TrimSpace(string(out)))
	}
	var got int64
	for _, root := range roots {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			if got >= want || ctx.Err() != nil {
				return fs.SkipAll
			}
			n, err := copyFile(filepath.Join(dir, path), path)
			got += n
			return err
		})
		if err != nil {
			return got, err
		}
	}
	return got, ctx.Err()
}

func copyFile(to, from string) (int64, error) {
	src, err := os.Open(from)
	if err != nil {
		return 0, err
	}
	defer src.Close()
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return 0, err
	}
	dst, err := os.Create(to)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(dst, src)
	return n, errors.Join(err, dst.Close())
}
