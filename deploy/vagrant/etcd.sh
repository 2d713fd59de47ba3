#!/bin/sh
# etcd.sh NAME ADDRESS CLUSTER: one member of the lock service, from Debian's package.
set -eu
name=$1 address=$2 cluster=$3
DEBIAN_FRONTEND=noninteractive
export DEBIAN_FRONTEND
apt-get update -q
apt-get install -y -q --no-install-recommends etcd-server
cat > /etc/default/etcd <<EOF
ETCD_NAME=$name
ETCD_LISTEN_PEER_URLS=http://$address:2380
ETCD_LISTEN_CLIENT_URLS=http://$address:2379,http://127.0.0.1:2379
ETCD_ADVERTISE_CLIENT_URLS=http://$address:2379
ETCD_INITIAL_ADVERTISE_PEER_URLS=http://$address:2380
ETCD_INITIAL_CLUSTER=$cluster
ETCD_INITIAL_CLUSTER_STATE=new
EOF
# The member waits for its peers, which are provisioned after it.
systemctl enable etcd
systemctl restart --no-block etcd
