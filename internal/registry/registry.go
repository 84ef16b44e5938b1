// Package registry turns configuration into the parts that run: a site's provider into its driver, a vault's URL into
// a store of objects. It and cmd are the only packages that name drivers.
package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"understudy/internal/dr"
	"understudy/internal/extension"
	"understudy/internal/site"
	"understudy/internal/site/azure"
	"understudy/internal/site/image"
	"understudy/internal/site/qemu"
	"understudy/internal/site/qemu/lanswitch"
	"understudy/internal/vault/blob"
	"understudy/internal/vault/blob/file"
)

// Options is what drivers need of their surroundings.
type Options struct {
	Dir    string // of the controller: drivers keep local state below it
	Now    func() time.Time
	Logger *slog.Logger
	// SwitchCommand starts a network switch of a qemu site; see qemu.Config.
	SwitchCommand []string
	// ConnectCommand joins a guest to a service of its qemu site; see qemu.Config.
	ConnectCommand []string
}

// A Provider is a kind of site.
type Provider struct {
	Name   string   `json:"name"`
	About  string   `json:"about"`
	Config []string `json:"config"` // settings and what they mean
	Runs   bool     `json:"runs"`   // machines can be recovered there
}

// Providers lists the kinds of site.
func Providers() []Provider {
	return []Provider{
		{"azure", "a resource group in one region of Azure", azureSettings(), true},
		{"image", "disk image files, captured and never run", []string{"machine.NAME=FILE[,FILE]"}, false},
		{"qemu", "QEMU machines on this host, described in DIR/machines/*.yaml", []string{"dir=DIR", "accel=kvm|tcg", "service.NAME=PORT=127.0.0.1:PORT", "collector.url=URL (docs/extensions.md)"}, true},
	}
}

// CanRun reports whether machines can be recovered to a site.
func CanRun(s dr.Site) bool {
	for _, p := range Providers() {
		if p.Name == s.Provider {
			return p.Runs
		}
	}
	return true
}

// Check says what is wrong with a site's configuration, without opening it.
func Check(s dr.Site) error {
	_, err := prepare(s, Options{})
	return err
}

// Driver opens a site.
func Driver(s dr.Site, o Options) (site.Driver, error) {
	open, err := prepare(s, o)
	if err != nil {
		return nil, err
	}
	d, err := open()
	if err != nil {
		return nil, fmt.Errorf("open site %s: %w", s.Name, err)
	}
	return d, nil
}

// Present says why a site that was opened once is not there now.
func Present(s dr.Site) error {
	if s.Provider != "qemu" {
		return nil
	}
	machines := filepath.Join(s.Config["dir"], "machines")
	if _, err := os.Stat(machines); err != nil {
		return dr.WithHint(fmt.Errorf("site %s is not there: %w", s.Name, err), dr.KindUnavailable,
			"mount or move its folder back to "+s.Config["dir"])
	}
	return nil
}

func prepare(s dr.Site, o Options) (func() (site.Driver, error), error) {
	// Any site may have a collector, which no driver needs to know of.
	if err := extension.CheckSite(s); err != nil {
		return nil, err
	}
	s.Config = maps.Clone(s.Config)
	maps.DeleteFunc(s.Config, func(key, _ string) bool { return strings.HasPrefix(key, extension.KeyPrefix) })
	switch s.Provider {
	case azure.Provider:
		return prepareAzure(s, o)
	case "qemu":
		services, err := services(s)
		if err != nil {
			return nil, err
		}
		if err := known(s, "dir", "accel"); err != nil {
			return nil, err
		}
		dir := s.Config["dir"]
		if dir == "" {
			return nil, invalid(s, "it has no folder", "give the folder of the machines: --set dir=/srv/"+s.Name)
		}
		if !filepath.IsAbs(dir) {
			return nil, invalid(s, fmt.Sprintf("dir %q is no absolute path", dir), "the controller may be started in any folder: give the whole path")
		}
		if a := s.Config["accel"]; a != "" && a != "kvm" && a != "tcg" {
			return nil, invalid(s, fmt.Sprintf("accel %q is not kvm or tcg", a), "leave accel out: kvm is used where it works")
		}
		cfg := qemu.Config{
			Dir: dir, Accel: s.Config["accel"], SwitchCommand: o.SwitchCommand, ConnectCommand: o.ConnectCommand, Services: services, Logger: o.Logger,
		}
		return func() (site.Driver, error) { return qemu.New(cfg) }, nil
	case "image":
		machines := map[string][]string{}
		for key, files := range s.Config {
			name, ok := strings.CutPrefix(key, "machine.")
			if !ok || name == "" {
				return nil, invalid(s, fmt.Sprintf("unknown setting %q", key), "an image site has: machine.NAME=FILE[,FILE]")
			}
			for f := range strings.SplitSeq(files, ",") {
				if f = strings.TrimSpace(f); f != "" {
					machines[name] = append(machines[name], f)
				}
			}
		}
		if len(machines) == 0 {
			return nil, invalid(s, "it has no machines", "name the disk files of each: --set machine.db=/srv/db.qcow2")
		}
		cfg := image.Config{Machines: machines, Dir: filepath.Join(o.Dir, "image", s.Name), Now: o.Now}
		return func() (site.Driver, error) { return image.New(cfg) }, nil
	}
	var names []string
	for _, p := range Providers() {
		names = append(names, p.Name)
	}
	return nil, invalid(s, fmt.Sprintf("unknown provider %q", s.Provider), "providers: "+strings.Join(names, ", "))
}

// services takes the settings of services out of a site's, which is the caller's own.
func services(s dr.Site) ([]qemu.Service, error) {
	var list []qemu.Service
	ports := map[int]string{}
	for _, key := range slices.Sorted(maps.Keys(s.Config)) {
		name, ok := strings.CutPrefix(key, "service.")
		if !ok {
			continue
		}
		service, err := qemu.ParseService(name, s.Config[key])
		if err == nil && name == "" {
			err = errors.New("no name")
		}
		if other := ports[service.GuestPort]; err == nil && other != "" {
			err = fmt.Errorf("guest port %d is that of service %s", service.GuestPort, other)
		}
		if err != nil {
			return nil, invalid(s, key+": "+err.Error(), "say at which port guests find which server: --set service.metrics=9100=127.0.0.1:9101")
		}
		ports[service.GuestPort] = name
		list = append(list, service)
		delete(s.Config, key)
	}
	return list, nil
}

func known(s dr.Site, keys ...string) error {
	for key := range s.Config {
		if !slices.Contains(keys, key) {
			return invalid(s, fmt.Sprintf("unknown setting %q", key), "a "+s.Provider+" site has: "+strings.Join(keys, ", "))
		}
	}
	return nil
}

func invalid(s dr.Site, what, hint string) error {
	return dr.WithHint(fmt.Errorf("site %s: %s", s.Name, what), dr.KindInvalid, hint)
}

// Files opens disk image files as the one machine of a site.
func Files(machine string, files []string, o Options) (site.Driver, error) {
	return image.New(image.Config{Machines: map[string][]string{machine: files}, Dir: o.Dir, Now: o.Now})
}

// DiskName is the name that a disk image file has as a disk.
func DiskName(file string) string { return image.DiskName(file) }

// IsURL reports whether a vault's place is written as a URL.
func IsURL(place string) bool { return strings.Contains(place, "://") }

// VaultURL writes the place of a vault, a folder or a URL, as a URL.
func VaultURL(place string) (string, error) {
	if !IsURL(place) {
		abs, err := filepath.Abs(place)
		if err != nil {
			return "", err
		}
		place = (&url.URL{Scheme: "file", Path: filepath.ToSlash(abs)}).String()
		if runtime.GOOS == "windows" {
			place = "file:///" + filepath.ToSlash(abs)
		}
	}
	if _, ok, err := parseRemote(place); ok {
		return place, err
	}
	if _, err := folder(place); err != nil {
		return "", err
	}
	return place, nil
}

// Blob opens the store of a vault. With create it is made when it does not exist.
func Blob(vaultURL string, create bool) (blob.Store, error) {
	if r, ok, err := parseRemote(vaultURL); ok {
		if err != nil {
			return nil, err
		}
		return r.open(create)
	}
	dir, err := folder(vaultURL)
	if err != nil {
		return nil, err
	}
	return file.Open(dir, create)
}

// Folder returns the folder of a vault that is kept in one.
func Folder(vaultURL string) (string, bool) {
	dir, err := folder(vaultURL)
	return dir, err == nil
}

const placeHint = "a vault is a folder, such as /srv/vault, or s3://BUCKET/PREFIX, or azblob://ACCOUNT/CONTAINER/PREFIX"

func folder(vaultURL string) (string, error) {
	u, err := url.Parse(vaultURL)
	if err != nil {
		return "", dr.WithHint(fmt.Errorf("vault: %w", err), dr.KindInvalid, placeHint)
	}
	if u.Scheme != "file" || u.Path == "" || (u.Host != "" && u.Host != "localhost") {
		return "", dr.WithHint(fmt.Errorf("vault %s: unknown kind of place", vaultURL), dr.KindInvalid,
			placeHint)
	}
	dir := u.Path
	if runtime.GOOS == "windows" {
		dir = strings.TrimPrefix(dir, "/")
	}
	return filepath.FromSlash(dir), nil
}

// Program is the path of the running program, for commands that start it again.
func Program() (string, error) {
	exe, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find the program's own file: %w", err)
	}
	return exe, nil
}

// LANSwitch runs the network switch of a qemu site until ctx ends or nothing uses it.
func LANSwitch(ctx context.Context, socket string) error { return lanswitch.Main(ctx, socket) }
