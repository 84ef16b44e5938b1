package main

import (
	"context"
	"path/filepath"
)

// ours runs the understudy program with its keys in the scratch folder.
func (b *bench) ours(ctx context.Context, args ...string) (usage, error) {
	return execute(ctx, []string{"XDG_CONFIG_HOME=" + filepath.Join(b.dir, "config")}, b.bin, args...)
}

// restic runs restic on a repository, which init makes (format 2, so that it compresses as well as encrypts).
func (b *bench) restic(ctx context.Context, repo string, args ...string) (usage, error) {
	env := []string{"RESTIC_PASSWORD=bench", "RESTIC_CACHE_DIR=" + filepath.Join(b.dir, "restic-cache")}
	return execute(ctx, env, "restic", append([]string{"-q", "-r", repo}, args...)...)
}

func (b *bench) resticInit(ctx context.Context, repo string) error {
	if err := remake(repo); err != nil {
		return err
	}
	_, err := b.restic(ctx, repo, "init", "--repository-version", "2")
	return err
}

// borg runs BorgBackup (encrypted by repokey, compressed by lz4, its default).
func (b *bench) borg(ctx context.Context, args ...string) (usage, error) {
	env := []string{
		"BORG_PASSPHRASE=bench", "BORG_BASE_DIR=" + filepath.Join(b.dir, "borg"),
		"BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes", "BORG_RELOCATED_REPO_ACCESS_IS_OK=yes",
	}
	return execute(ctx, env, "borg", args...)
}

func (b *bench) borgInit(ctx context.Context, repo string) error {
	if err := remake(repo); err != nil {
		return err
	}
	_, err := b.borg(ctx, "init", "-e", "repokey-blake2", repo)
	return err
}

// zstdImage converts an image to a qcow2 compressed with zstd.
func zstdImage(ctx context.Context, from, to string) (usage, error) {
	return execute(ctx, nil, "qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", "-o", "compression_type=zstd", from, to)
}
