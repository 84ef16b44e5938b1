package azure

import "understudy/internal/site"

// Platform implements site.Platformer: Hyper-V.
func (s *Site) Platform() site.Platform {
	return site.Platform{
		Provider: Provider, Hardware: "Hyper-V",
		Storage: []string{"hv_vmbus", "hv_storvsc"}, Network: []string{"hv_netvsc"}, Interfaces: []string{"eth[0-9]"},
		Console: "ttyS0", Agent: "waagent", AgentPaths: []string{"usr/sbin/waagent", "usr/bin/waagent"}, AgentInstall: "apt-get install waagent",
		Windows: "Windows brings what Hyper-V needs; see that its network is set up by DHCP, that Remote Desktop is allowed, and that its disks are online (san policy=OnlineAll)",
	}
}
