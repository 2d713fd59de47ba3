#!/bin/sh
# Gives the control machine an ssh key of its own and leaves the public half in
# the shared folder, where the application machines pick it up.
set -eu
key=/home/vagrant/.ssh/id_ed25519
if [ ! -f "$key" ]; then
  su vagrant -c "ssh-keygen -q -t ed25519 -N '' -f $key"
fi
install -m 0644 "$key.pub" /vagrant/.vagrant/control.pub
printf 'Host app-* lock-*\n  StrictHostKeyChecking accept-new\n' > /home/vagrant/.ssh/config
chown vagrant: /home/vagrant/.ssh/config
