"""The appliance against nginx, HAProxy and Caddy on one core: what a request costs, and an idle connection holds."""
