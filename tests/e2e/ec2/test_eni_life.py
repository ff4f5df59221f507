"""The life of an ENI, call by call."""

import time

from lab import Lab


class EniLife(Lab):
    def test_an_eni_is_created_attached_fed_detached_and_deleted(self):
        free = self.free("wide")
        eni = self.create(
            SecondaryPrivateIpAddressCount=2,
            Groups=[self.world["group"]],
            Description="aws-K8S-i-0 <&> ü",
            TagSpecifications=[
                {"ResourceType": "network-interface", "Tags": [{"Key": "owner", "Value": "a b&c"}]}
            ],
        )
        own = eni["NetworkInterfaceId"]
        self.assertEqual(eni["Status"], "available")
        self.assertEqual(eni["Description"], "aws-K8S-i-0 <&> ü")
        self.assertEqual(eni["TagSet"], [{"Key": "owner", "Value": "a b&c"}])
        self.assertEqual([group["GroupName"] for group in eni["Groups"]], ["pods"])
        self.assertEqual([it["Primary"] for it in eni["PrivateIpAddresses"]], [True, False, False])
        self.assertEqual(self.free("wide"), free - 3)

        attachment = self.attach(own, 1)
        attached = self.look(own)
        self.assertEqual(attached["Status"], "in-use")
        at = attached["Attachment"]
        self.assertEqual(
            (at["AttachmentId"], at["Status"], at["DeviceIndex"], at["NetworkCardIndex"]),
            (attachment, "attached", 1, 0),
        )
        self.assertFalse(at["DeleteOnTermination"])
        self.ec2.modify_network_interface_attribute(
            NetworkInterfaceId=own,
            Attachment={"AttachmentId": attachment, "DeleteOnTermination": True},
        )
        self.assertTrue(self.look(own)["Attachment"]["DeleteOnTermination"])

        answer = self.ec2.assign_private_ip_addresses(
            NetworkInterfaceId=own, SecondaryPrivateIpAddressCount=3
        )
        new = [it["PrivateIpAddress"] for it in answer["AssignedPrivateIpAddresses"]]
        before = {it["PrivateIpAddress"] for it in eni["PrivateIpAddresses"]}
        self.assertEqual(len(new), 3)
        self.assertFalse(before & set(new), "only what is new")
        self.ec2.unassign_private_ip_addresses(NetworkInterfaceId=own, PrivateIpAddresses=new[:2])
        left = {it["PrivateIpAddress"] for it in self.look(own)["PrivateIpAddresses"]}
        self.assertEqual(left, before | {new[2]})

        self.ec2.detach_network_interface(AttachmentId=attachment, Force=True)
        self.assertNotIn("Attachment", self.look(own))
        self.ec2.delete_network_interface(NetworkInterfaceId=own)
        self.assertEqual(self.free("wide"), free)

    def test_prefixes_take_sixteen_addresses_each(self):
        free = self.free("wide")
        eni = self.create(Ipv4PrefixCount=1)
        own = eni["NetworkInterfaceId"]
        self.assertEqual(len(eni["Ipv4Prefixes"]), 1)
        answer = self.ec2.assign_private_ip_addresses(NetworkInterfaceId=own, Ipv4PrefixCount=1)
        (new,) = [it["Ipv4Prefix"] for it in answer["AssignedIpv4Prefixes"]]
        self.assertTrue(new.endswith("/28"))
        self.assertNotEqual(new, eni["Ipv4Prefixes"][0]["Ipv4Prefix"])
        self.assertEqual(self.free("wide"), free - 33)
        self.ec2.unassign_private_ip_addresses(NetworkInterfaceId=own, Ipv4Prefixes=[new])
        self.assertEqual(self.free("wide"), free - 17)
        self.ec2.assign_private_ip_addresses(NetworkInterfaceId=own, Ipv4Prefixes=[new])
        self.ec2.delete_network_interface(NetworkInterfaceId=own)
        self.assertEqual(self.free("wide"), free)

    def test_exact_addresses_are_given_and_move_with_permission(self):
        owner = self.create(
            PrivateIpAddresses=[
                {"PrivateIpAddress": "10.0.1.200", "Primary": True},
                {"PrivateIpAddress": "10.0.1.201", "Primary": False},
            ]
        )
        self.assertEqual(owner["PrivateIpAddress"], "10.0.1.200")
        taker = self.create(PrivateIpAddress="10.0.1.210")["NetworkInterfaceId"]
        wanted = {"NetworkInterfaceId": taker, "PrivateIpAddresses": ["10.0.1.201"]}
        self.refused("InvalidParameterValue", 400, self.ec2.assign_private_ip_addresses, **wanted)
        self.ec2.assign_private_ip_addresses(**wanted, AllowReassignment=True)
        self.assertEqual(len(self.look(owner["NetworkInterfaceId"])["PrivateIpAddresses"]), 1)
        self.assertEqual(len(self.look(taker)["PrivateIpAddresses"]), 2)
        for eni in (owner["NetworkInterfaceId"], taker):
            self.ec2.delete_network_interface(NetworkInterfaceId=eni)

    def test_one_token_makes_one_eni(self):
        first = self.create(ClientToken="again")["NetworkInterfaceId"]
        self.assertEqual(self.create(ClientToken="again")["NetworkInterfaceId"], first)
        self.refused(
            "IdempotentParameterMismatch",
            400,
            self.create,
            ClientToken="again",
            Description="something else",
        )
        self.ec2.delete_network_interface(NetworkInterfaceId=first)

    def test_attributes_change_one_at_a_time(self):
        eni = self.create()["NetworkInterfaceId"]
        modify = self.ec2.modify_network_interface_attribute
        modify(NetworkInterfaceId=eni, Groups=[self.world["group"]])
        modify(NetworkInterfaceId=eni, Description={"Value": "new"})
        modify(NetworkInterfaceId=eni, SourceDestCheck={"Value": False})
        seen = self.look(eni)
        self.assertEqual([group["GroupId"] for group in seen["Groups"]], [self.world["group"]])
        self.assertEqual((seen["Description"], seen["SourceDestCheck"]), ("new", False))
        self.refused(
            "InvalidParameterCombination",
            400,
            modify,
            NetworkInterfaceId=eni,
            Description={"Value": "x"},
            SourceDestCheck={"Value": True},
        )
        self.refused("MissingParameter", 400, modify, NetworkInterfaceId=eni)
        self.ec2.delete_network_interface(NetworkInterfaceId=eni)

    def test_tags_come_and_go(self):
        eni = self.create()["NetworkInterfaceId"]
        self.ec2.create_tags(Resources=[eni], Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": ""}])
        tags = self.ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": [eni]}])["Tags"]
        self.assertEqual([(tag["Key"], tag["Value"]) for tag in tags], [("a", "1"), ("b", "")])
        self.assertEqual({tag["ResourceType"] for tag in tags}, {"network-interface"})
        self.ec2.delete_tags(Resources=[eni], Tags=[{"Key": "a", "Value": "other"}])
        self.assertEqual(len(self.look(eni)["TagSet"]), 2)
        self.ec2.delete_tags(Resources=[eni], Tags=[{"Key": "a", "Value": "1"}, {"Key": "b"}])
        self.assertEqual(self.look(eni)["TagSet"], [])
        self.ec2.delete_network_interface(NetworkInterfaceId=eni)


class Instances(Lab):
    def test_instances_take_their_enis_with_them(self):
        launched = self.ec2.run_instances(
            ImageId="ami-1",
            InstanceType="t3.small",
            MinCount=1,
            MaxCount=2,
            NetworkInterfaces=[
                {"DeviceIndex": 0, "SubnetId": self.world["wide"], "SecondaryPrivateIpAddressCount": 3}
            ],
            TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "n"}]}],
        )
        ids = [instance["InstanceId"] for instance in launched["Instances"]]
        self.assertEqual(len(ids), 2)
        self.ec2.get_waiter("instance_running").wait(InstanceIds=ids)
        (reservation,) = self.ec2.describe_instances(InstanceIds=ids)["Reservations"]
        for instance in reservation["Instances"]:
            (eni,) = instance["NetworkInterfaces"]
            self.assertTrue(eni["Attachment"]["DeleteOnTermination"])
            self.assertEqual(len(eni["PrivateIpAddresses"]), 4)
            self.assertEqual(instance["PrivateIpAddress"], eni["PrivateIpAddress"])
            self.assertEqual(instance["Tags"], [{"Key": "Name", "Value": "n"}])
        enis = [{"Name": "attachment.instance-id", "Values": ids}]
        self.assertEqual(len(self.ec2.describe_network_interfaces(Filters=enis)["NetworkInterfaces"]), 2)
        ended = self.ec2.terminate_instances(InstanceIds=ids)["TerminatingInstances"]
        self.assertEqual({it["CurrentState"]["Name"] for it in ended}, {"shutting-down"})
        self.ec2.get_waiter("instance_terminated").wait(InstanceIds=ids)
        self.assertEqual(self.ec2.describe_network_interfaces(Filters=enis)["NetworkInterfaces"], [])


class SlowAttach(Lab):
    environment = {"ENID_EC2_ATTACH_MS": "400"}

    def test_attach_and_detach_are_accepted_before_they_are_done(self):
        eni = self.create()["NetworkInterfaceId"]
        attachment = self.attach(eni, 1)
        self.assertEqual(self.look(eni)["Attachment"]["Status"], "attaching")
        self.refused("IncorrectState", 400, self.ec2.detach_network_interface, AttachmentId=attachment)
        self.wait_until(lambda: self.look(eni)["Attachment"]["Status"] == "attached")
        self.ec2.detach_network_interface(AttachmentId=attachment)
        self.assertEqual(self.look(eni)["Attachment"]["Status"], "detaching")
        self.refused("InvalidParameterValue", 400, self.ec2.delete_network_interface, NetworkInterfaceId=eni)
        self.wait_until(lambda: self.look(eni)["Status"] == "available")
        self.ec2.delete_network_interface(NetworkInterfaceId=eni)

    def wait_until(self, done):
        deadline = time.monotonic() + 10
        while not done():
            self.assertLess(time.monotonic(), deadline)
