package cli

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"understudy/internal/api/client"
	"understudy/internal/dr"
	"understudy/internal/keyring"
	"understudy/internal/registry"
)

// vaultFlags are the flags of commands that work on a vault.
type vaultFlags struct {
	vault string
	key   string
	group string
}

func (f *vaultFlags) add(cmd *cobra.Command, withGroup bool) {
	cmd.Flags().StringVar(&f.vault, "vault", os.Getenv("UNDERSTUDY_VAULT"), "the vault: a folder (with a / in it, or existing), or the name of one that the controller knows")
	cmd.Flags().StringVar(&f.key, "key", os.Getenv("UNDERSTUDY_KEY_FILE"), "the vault's key file")
	if withGroup {
		cmd.Flags().StringVar(&f.group, "group", "", "the group, where the vault holds several")
	}
}

// isFolder is the rule that tells a vault's folder from the name of a vault: a folder has a slash in it, is . or ..,
// or exists.
func isFolder(s string) bool {
	if strings.ContainsAny(s, `/\`) || s == "." || s == ".." {
		return true
	}
	st, err := os.Stat(s)
	return err == nil && st.IsDir()
}

// place resolves --vault: a folder as it is, a name by asking the controller.
func (a *App) place(ctx context.Context, f vaultFlags) (keyring.Place, error) {
	if f.vault == "" {
		return keyring.Place{}, invalid("--vault ./v, or UNDERSTUDY_VAULT", "no vault given")
	}
	if isFolder(f.vault) {
		url, err := registry.VaultURL(f.vault)
		return keyring.Place{URL: url, Key: f.key}, err
	}
	api, err := a.client()
	if err == nil {
		v, verr := api.ShowVault(ctx, f.vault)
		if verr == nil {
			p := keyring.Place{URL: v.URL, Key: v.KeyFile}
			if f.key != "" {
				p.Key = f.key
			}
			return p, nil
		}
		err = verr
	}
	if dr.KindOf(err) == dr.KindNotFound || dr.KindOf(err) == dr.KindUnavailable {
		return keyring.Place{}, dr.WithHint(fmt.Errorf("vault %s: no such folder, and as the name of a controller's vault: %w", f.vault, err),
			dr.KindOf(err), "for a new folder write ./"+f.vault)
	}
	return keyring.Place{}, err
}

// siteAt resolves PROVIDER:REGION to the name of the site there; anything else is a name already.
func siteAt(ctx context.Context, api *client.Client, name string) (string, error) {
	provider, region, ok := strings.Cut(name, ":")
	if !ok {
		return name, nil
	}
	sites, err := api.ListSites(ctx)
	if err != nil {
		return "", fmt.Errorf("find the site at %s: %w", name, err)
	}
	var found []string
	for _, s := range sites {
		if s.Provider == provider && strings.EqualFold(strings.ReplaceAll(s.Config["location"], " ", ""), strings.ReplaceAll(region, " ", "")) {
			found = append(found, s.Name)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return "", dr.WithHint(fmt.Errorf("no site of provider %s is in region %s", provider, region), dr.KindNotFound,
			fmt.Sprintf("understudy site list; add one: understudy site add NAME --provider %s --set location=%s ...", provider, region))
	}
	return "", invalid("give the name of one instead", "%d sites are at %s: %s", len(found), name, strings.Join(found, ", "))
}
