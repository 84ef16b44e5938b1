package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"
)

// seed measures a first full copy.
func seed(ctx context.Context, b *bench) error {
	image, err := b.corpus(ctx)
	if err != nil {
		return err
	}
	vault, repo, attic := filepath.Join(b.dir, "vault"), filepath.Join(b.dir, "restic"), filepath.Join(b.dir, "borgrepo")
	qcow := filepath.Join(b.dir, "seed.qcow2")
	median, err := b.race(
		contender{"understudy", func() error { return remake(vault) }, func() (usage, error) {
			os.RemoveAll(vault)
			return b.ours(ctx, "protect", image, "--vault", vault)
		}},
		contender{"qemu-img -c zstd", nil, func() (usage, error) { return zstdImage(ctx, image, qcow) }},
		contender{"restic", func() error { return b.resticInit(ctx, repo) }, func() (usage, error) {
			return b.restic(ctx, repo, "backup", image)
		}},
		contender{"borg", func() error { return b.borgInit(ctx, attic) }, func() (usage, error) {
			return b.borg(ctx, "create", attic+"::seed", image)
		}},
	)
	if err != nil {
		return err
	}
	mine := median["understudy"].Seconds()
	b.add(faster("seed", mine, "restic", median["restic"], 3))
	b.add(faster("seed", mine, "qemu-img -c zstd", median["qemu-img -c zstd"], 1))
	b.add(result{"seed", mine, "s", "borg (lz4)", median["borg"].Seconds() / mine, "none: for comparison", true})
	return nil
}

// faster is the verdict on being so many times as fast as a peer.
func faster(name string, seconds float64, against string, peer time.Duration, want float64) result {
	ratio := peer.Seconds() / seconds
	return result{name, seconds, "s", against, ratio, fmt.Sprintf("at least %gx as fast", want), ratio >= want}
}

// protected is what `understudy protect -o json` ends with.
type protected struct {
	Kind    string `json:"kind"`
	Read    int64  `json:"read"`
	Changed int64  `json:"changed"`
	Stored  int64  `json:"stored"`
}

func (b *bench) protect(ctx context.Context, image, vault string) (protected, usage, error) {
	u, err := b.ours(ctx, "protect", image, "--vault", vault, "-o", "json")
	if err != nil {
		return protected{}, u, err
	}
	var p protected
	if err := json.Unmarshal(u.out, &p); err != nil {
		return p, u, fmt.Errorf("understudy protect -o json: %w: %s", err, u.out)
	}
	return p, u, nil
}

// delta measures what scattered small writes cost in storage.
func delta(ctx context.Context, b *bench) error {
	corpus, err := b.corpus(ctx)
	if err != nil {
		return err
	}
	image := filepath.Join(b.dir, "delta.raw")
	if _, err := execute(ctx, nil, "cp", "--sparse=always", corpus, image); err != nil {
		return err
	}
	vault, repo, attic := filepath.Join(b.dir, "dvault"), filepath.Join(b.dir, "drestic"), filepath.Join(b.dir, "dborg")
	peers := []struct {
		name, dir  string
		init, save func(n int) error
	}{
		{"restic", repo, func(int) error { return b.resticInit(ctx, repo) }, func(int) error {
			_, err := b.restic(ctx, repo, "backup", image)
			return err
		}},
		{"borg", attic, func(int) error { return b.borgInit(ctx, attic) }, func(n int) error {
			_, err := b.borg(ctx, "create", fmt.Sprintf("%s::%d", attic, n), image)
			return err
		}},
	}
	before := map[string]int64{}
	for _, p := range peers {
		if err := p.init(0); err != nil {
			return err
		}
		if err := p.save(0); err != nil {
			return err
		}
		if before[p.name], err = stored(p.dir); err != nil {
			return err
		}
	}
	if _, _, err := b.protect(ctx, image, vault); err != nil {
		return err
	}
	changed, err := scatter(image, 10240)
	if err != nil {
		return err
	}
	size, err := stored(vault)
	if err != nil {
		return err
	}
	if _, _, err := b.protect(ctx, image, vault); err != nil {
		return err
	}
	after, err := stored(vault)
	if err != nil {
		return err
	}
	mine := float64(after-size) / float64(changed)
	for _, p := range peers {
		if err := p.save(1); err != nil {
			return err
		}
		after, err := stored(p.dir)
		if err != nil {
			return err
		}
		theirs := float64(after-before[p.name]) / float64(changed)
		b.add(result{"stored / changed, 4 KiB writes", mine, "", p.name, theirs / mine, "value at most 1.5", mine <= 1.5})
	}
	return nil
}

// scatter writes n blocks of random bytes at random places and returns how many bytes it changed.
func scatter(file string, n int) (int64, error) {
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	random := rand.NewChaCha8([32]byte{1})
	places := rand.New(random)
	seen := map[int64]bool{}
	block := make([]byte, 4096)
	for range n {
		at := places.Int64N(st.Size() / 4096)
		seen[at] = true
		random.Read(block)
		if _, err := f.WriteAt(block, at*4096); err != nil {
			return 0, err
		}
	}
	return int64(len(seen)) * 4096, f.Sync()
}

// restore measures a restore to a raw file.
func restore(ctx context.Context, b *bench) error {
	image, err := b.corpus(ctx)
	if err != nil {
		return err
	}
	vault, repo := filepath.Join(b.dir, "rvault"), filepath.Join(b.dir, "rrestic")
	qcow, out := filepath.Join(b.dir, "restore.qcow2"), filepath.Join(b.dir, "out")
	if _, _, err := b.protect(ctx, image, vault); err != nil {
		return err
	}
	if _, err := zstdImage(ctx, image, qcow); err != nil {
		return err
	}
	if err := b.resticInit(ctx, repo); err != nil {
		return err
	}
	if _, err := b.restic(ctx, repo, "backup", image); err != nil {
		return err
	}
	clean := func() error { return remake(out) }
	raw := filepath.Join(out, "disk.raw")
	median, err := b.race(
		contender{"understudy", clean, func() (usage, error) {
			return b.ours(ctx, "restore", "--vault", vault, "--point", "latest", "--format", "raw", raw)
		}},
		contender{"qemu-img", clean, func() (usage, error) {
			return execute(ctx, nil, "qemu-img", "convert", "-f", "qcow2", "-O", "raw", qcow, raw)
		}},
		contender{"restic", clean, func() (usage, error) { return b.restic(ctx, repo, "restore", "latest", "--target", out) }},
	)
	if err != nil {
		return err
	}
	mine := median["understudy"].Seconds()
	if _, err := b.ours(ctx, "restore", "--vault", vault, "--point", "latest", "--format", "raw", "--force", raw); err != nil {
		return err
	}
	if _, err := execute(ctx, nil, "cmp", image, raw); err != nil {
		return fmt.Errorf("the restored image differs: %w", err)
	}
	b.add(faster("restore to raw", mine, "restic", median["restic"], 2))
	b.add(faster("restore to raw", mine, "qemu-img from zstd qcow2", median["qemu-img"], 1))
	return nil
}

// memory measures the peak memory of protecting a sparse disk of 1 TiB.
func memory(ctx context.Context, b *bench) error {
	image := filepath.Join(b.dir, "huge.raw")
	if err := os.WriteFile(image, nil, 0o644); err != nil {
		return err
	}
	if err := os.Truncate(image, 1<<40); err != nil {
		return err
	}
	if _, err := scatter(image, 10240); err != nil {
		return err
	}
	vault := filepath.Join(b.dir, "mvault")
	_, u, err := b.protect(ctx, image, vault)
	if err != nil {
		return err
	}
	mib := float64(u.maxRSS) / (1 << 20)
	b.add(result{"peak memory, seed of a sparse 1 TiB disk", mib, "MiB", "", 0, "at most 256", mib <= 256})
	if _, err := scatter(image, 1024); err != nil {
		return err
	}
	if _, u, err = b.protect(ctx, image, vault); err != nil {
		return err
	}
	mib = float64(u.maxRSS) / (1 << 20)
	b.add(result{"peak memory, delta of a sparse 1 TiB disk", mib, "MiB", "", 0, "at most 256", mib <= 256})
	return nil
}
