#!/bin/sh
# ledger.sh ADDRESS: the protected resource of the lab, with ordered fencing tokens.
set -eu
cat > /etc/systemd/system/ledger.service <<EOF
[Unit]
Description=practice ledger that enforces fencing tokens
[Service]
DynamicUser=yes
StateDirectory=ledger
ExecStart=/usr/local/bin/locklab serve ledger --listen $1:8080 --data /var/lib/ledger --variant ordered
Restart=on-failure
[Install]
WantedBy=multi-user.target
EOF
systemctl daemon-reload
systemctl enable --now ledger
