package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/pageblob"
	"golang.org/x/sync/errgroup"

	"understudy/internal/dr"
	"understudy/internal/nbd"
	"understudy/internal/replicate"
	"understudy/internal/site"
	"understudy/internal/site/azure"
	"understudy/test/azsim/pages"
	"understudy/test/azsim/sim"
)

// distance is how long each request for pages takes at least, as it would to a region nearby. The simulation itself is in this process.
const distance = 25 * time.Millisecond

// cloud is a simulated Azure with the shop in it, and a site there.
type cloud struct {
	*sim.Sim
	site *azure.Site
}

func newCloud(dir string, place sim.Place) (*cloud, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	s, err := sim.New(sim.Options{Dir: dir, Polls: 1})
	if err != nil {
		return nil, err
	}
	for k, v := range s.Env() {
		if err := os.Setenv(k, v); err != nil {
			return nil, err
		}
	}
	c := s.Config(place.Region, place.Group)
	d, err := azure.New(azure.Config{Name: "bench", Dir: dir, Subscription: c["subscription"], Tenant: c["tenant"], Location: place.Region, Group: place.Group, Cloud: "custom",
		Endpoint: c["endpoint"], Authority: c["authority"], Audience: c["audience"], CA: c["ca"], Networks: map[string]string{"": "lan/default"}, Poll: 5 * time.Millisecond})
	if err != nil {
		s.Close()
		return nil, err
	}
	return &cloud{s, d}, s.Shop()
}

func (c *cloud) close() error {
	err := c.site.Close()
	c.Close()
	return err
}

func (c *cloud) client(url string) (*pageblob.Client, error) {
	return pageblob.NewClientWithNoCredential(url, &pageblob.ClientOptions{ClientOptions: azcore.ClientOptions{Transport: c.transport()}})
}

func (c *cloud) transport() *http.Client {
	client := c.Client()
	client.Transport.(*http.Transport).MaxIdleConnsPerHost = 16
	return client
}

// slow makes requests for pages take their time.
func (c *cloud) slow() {
	c.PageFault(func(pages.Call) *pages.Failure { return &pages.Failure{Slow: distance} })
}

// azurePages measures the upload of a disk and the reading of what changed, beside loops over the official client.
func azurePages(ctx context.Context, b *bench) (err error) {
	c, err := newCloud(filepath.Join(b.dir, "azure"), sim.ShopEast)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	if err := c.upload(ctx, b); err != nil {
		return fmt.Errorf("upload: %w", err)
	}
	if err := c.diff(ctx, b); err != nil {
		return fmt.Errorf("differences: %w", err)
	}
	return nil
}

// upload writes a disk without zeros, so that everything is sent by everybody.
func (c *cloud) upload(ctx context.Context, b *bench) (err error) {
	const size = 256 << 20
	content := make([]byte, size)
	_, _ = rand.Read(content) // never fails
	socket := filepath.Join(b.dir, "n")
	server := nbd.NewServer(nbd.ServerOptions{})
	if err := server.Add(nbd.Export{Name: "content", Device: memory64{bytes.NewReader(content)}, ReadOnly: true}); err != nil {
		return err
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, l) }()
	defer func() {
		err = errors.Join(err, server.Close())
		<-done
	}()
	c.slow()
	defer c.PageFault(nil)
	n := 0
	loop := func(at int) func() (usage, error) {
		return func() (usage, error) {
			n++
			return c.uploadLoop(ctx, fmt.Sprintf("/bench/%d", n), nbd.URI(socket, "content"), at)
		}
	}
	median, err := b.race(
		contender{"understudy", nil, func() (usage, error) {
			n++
			m := dr.Machine{Name: fmt.Sprintf("up-%d", n), Disks: []dr.Disk{{Name: "os", Size: size}}, NICs: []dr.NIC{{Network: "lan/default"}}}
			began := time.Now()
			err := c.site.Provision(ctx, site.ProvisionRequest{Owner: m.Name, Sources: map[string]string{"os": nbd.URI(socket, "content")}, Machine: m})
			u := usage{wall: time.Since(began)}
			return u, errors.Join(err, c.site.Delete(ctx, m.Name))
		}},
		contender{"azblob, 1 at a time", nil, loop(1)},
		contender{"azblob, 8 at a time", nil, loop(8)},
	)
	if err != nil {
		return err
	}
	rate := func(d time.Duration) float64 { return size / d.Seconds() / (1 << 20) }
	mine := rate(median["understudy"])
	for _, peer := range []struct {
		name string
		want float64
	}{{"azblob, 1 at a time", 1}, {"azblob, 8 at a time", 0.8}} {
		ratio := mine / rate(median[peer.name])
		b.add(result{"azure page upload, " + distance.String() + " away", mine, "MiB/s", peer.name, ratio, fmt.Sprintf("at least %gx as fast", peer.want), ratio >= peer.want})
	}
	return nil
}

// uploadLoop is the loop that one would write: pages of 4 MiB from the same source, so many at a time.
func (c *cloud) uploadLoop(ctx context.Context, id, source string, at int) (u usage, err error) {
	from, err := nbd.Dial(ctx, source, nbd.DialOptions{Connections: 2})
	if err != nil {
		return u, err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	url, remove := c.Blank(id, from.Size())
	defer remove()
	client, err := c.client(url)
	if err != nil {
		return u, err
	}
	began := time.Now()
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(at)
	for off := int64(0); off < from.Size(); off += 4 << 20 {
		g.Go(func() error {
			part := make([]byte, min(4<<20, from.Size()-off))
			if _, err := from.ReadContext(gctx, part, off); err != nil {
				return err
			}
			_, err := client.UploadPages(gctx, streaming.NopCloser(bytes.NewReader(part)), blob.HTTPRange{Offset: off, Count: int64(len(part))}, nil)
			return err
		})
	}
	err = g.Wait()
	return usage{wall: time.Since(began)}, err
}

type memory64 struct{ *bytes.Reader }

func (m memory64) Size() int64 { return m.Reader.Size() }

// diff reads what changed on a disk between two captures: scattered pieces of 64 KiB.
func (c *cloud) diff(ctx context.Context, b *bench) error {
	const pieces, piece = 256, 64 << 10
	older, err := c.site.Capture(ctx, site.CaptureRequest{Group: "g", Machines: []string{"shop-web"}, ID: "one"})
	if err != nil {
		return err
	}
	if err := older.Commit(ctx); err != nil {
		return err
	}
	machines := older.Machines()
	disk := c.Disk(machines[0].Disks[0].Path)
	rnd := mathrand.New(mathrand.NewPCG(1, 2))
	for _, i := range rnd.Perm(int(disk.Size() / piece))[:pieces] {
		p := make([]byte, piece)
		_, _ = rand.Read(p) // never fails
		if _, err := disk.WriteAt(p, int64(i)*piece); err != nil {
			return err
		}
	}
	newer, err := c.site.Capture(ctx, site.CaptureRequest{Group: "g", Machines: []string{"shop-web"}, ID: "two", Since: "one"})
	if err != nil {
		return err
	}
	snapshots := map[string]string{}
	for _, id := range c.IDs("Microsoft.Compute/snapshots") {
		for _, which := range []string{"one", "two"} {
			if strings.Contains(id, "-"+which+"-") {
				snapshots[which] = c.Grant(id)
			}
		}
	}
	c.slow()
	defer c.PageFault(nil)
	median, err := b.race(
		contender{"understudy", nil, func() (usage, error) {
			began := time.Now()
			n, err := readChanges(ctx, newer.Disks()[0])
			if err == nil && n < pieces*piece {
				err = fmt.Errorf("read %d bytes of %d", n, pieces*piece)
			}
			return usage{wall: time.Since(began)}, err
		}},
		contender{"azblob, 1 at a time", nil, func() (usage, error) {
			began := time.Now()
			n, err := c.diffLoop(ctx, snapshots["one"], snapshots["two"])
			if err == nil && n < pieces*piece {
				err = fmt.Errorf("read %d bytes of %d", n, pieces*piece)
			}
			return usage{wall: time.Since(began)}, err
		}},
	)
	if err != nil {
		return err
	}
	rate := func(d time.Duration) float64 { return pieces * piece / d.Seconds() / (1 << 20) }
	ratio := rate(median["understudy"]) / rate(median["azblob, 1 at a time"])
	b.add(result{"azure differences read, " + distance.String() + " away", rate(median["understudy"]), "MiB/s", "azblob, 1 at a time", ratio, "at least 0.9x as fast", ratio >= 0.9})
	return newer.Abort(ctx)
}

// readChanges asks a captured disk what changed, and reads that, one piece after another.
func readChanges(ctx context.Context, d site.CapturedDisk) (n int64, err error) {
	changes, err := d.Changes(ctx)
	if err != nil || changes.Full {
		return 0, errors.Join(err, fmt.Errorf("everything is read: %s", changes.Reason))
	}
	for _, e := range changes.Extents {
		p := make([]byte, e.Length)
		if _, err := d.ReadAt(p, e.Offset); err != nil {
			return n, err
		}
		n += e.Length
	}
	return n, nil
}

func (c *cloud) diffLoop(ctx context.Context, older, newer string) (n int64, err error) {
	client, err := c.client(newer)
	if err != nil {
		return 0, err
	}
	for pager := client.NewGetPageRangesDiffPager(&pageblob.GetPageRangesDiffOptions{PrevSnapshotURL: to.Ptr(older)}); pager.More(); {
		page, err := pager.NextPage(ctx)
		if err != nil {
			return n, err
		}
		for _, r := range page.PageRange {
			got, err := client.DownloadStream(ctx, &blob.DownloadStreamOptions{Range: blob.HTTPRange{Offset: *r.Start, Count: *r.End + 1 - *r.Start}})
			if err != nil {
				return n, err
			}
			read, err := io.Copy(io.Discard, got.Body)
			if n += read; err != nil {
				return n, errors.Join(err, got.Body.Close())
			}
			if err := got.Body.Close(); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

// azureCycle counts what a cycle of a group of two machines with three disks asks of Azure.
func azureCycle(ctx context.Context, b *bench) (err error) {
	dir := filepath.Join(b.dir, "azure-cycle")
	c, err := newCloud(dir, sim.ShopEast)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	l, err := newLoop(ctx, dir, c.site, dr.Group{Name: "g", Site: "bench", Machines: []dr.MachinePolicy{{Name: "shop-db"}, {Name: "shop-web"}}}, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	if _, err := l.cycle(ctx); err != nil {
		return err
	}
	var disks []string
	list, err := c.site.Machines(ctx)
	if err != nil {
		return err
	}
	for _, m := range list {
		for _, d := range m.Disks {
			disks = append(disks, d.Path)
		}
	}
	for _, kind := range []string{"no-change", "1 MiB changed on each disk"} {
		if kind != "no-change" {
			p := make([]byte, 1<<20)
			_, _ = rand.Read(p) // never fails
			for _, id := range disks {
				if _, err := c.Disk(id).WriteAt(p, 128<<20); err != nil {
					return err
				}
			}
		}
		c.Calls()
		res, err := l.cycle(ctx)
		if err != nil {
			return err
		}
		if (res.Kind == replicate.KindUnchanged) != (kind == "no-change") {
			return fmt.Errorf("the cycle was %s: %s", res.Kind, res.Reason)
		}
		arm, data := 0, 0
		for what, n := range c.Calls() {
			if strings.HasPrefix(what, "pages ") {
				data += n
			} else {
				arm += n
			}
		}
		b.add(result{"azure cycle, 3 disks, " + kind, float64(arm), "calls to Resource Manager", "", 0, "at most 60", arm <= 60})
		b.add(result{"azure cycle, 3 disks, " + kind, float64(data), "requests for pages", "", 0, "at most 9", data <= 9})
	}
	return nil
}

// azureInventory lists a thousand machines.
func azureInventory(ctx context.Context, b *bench) (err error) {
	const machines = 1000
	place := sim.Place{Group: "fleet", Region: sim.ShopEast.Region, Prefix: "10.9"}
	c, err := newCloud(filepath.Join(b.dir, "azure-fleet"), place)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	if err := c.Place(place); err != nil {
		return err
	}
	for i := range machines {
		if _, err := c.Machine(sim.Machine{Name: fmt.Sprintf("m%04d", i), Place: place, Disks: []int{1}}); err != nil {
			return err
		}
	}
	calls := 0
	median, err := b.race(contender{"understudy", func() error { c.Calls(); return nil }, func() (usage, error) {
		began := time.Now()
		list, err := c.site.Machines(ctx)
		if err == nil && len(list) != machines {
			err = fmt.Errorf("%d machines of %d", len(list), machines)
		}
		calls = 0
		for _, n := range c.Calls() {
			calls += n
		}
		return usage{wall: time.Since(began)}, err
	}})
	if err != nil {
		return err
	}
	seconds := median["understudy"].Seconds()
	b.add(result{"azure inventory, 1,000 machines", float64(calls), "calls", "", 0, "at most 30", calls <= 30})
	b.add(result{"azure inventory, 1,000 machines", seconds, "s", "", 0, "under 10", seconds < 10})
	return nil
}
